/** What the guestbook refuses, and why. The example stands alone, so it has its own small error class. */
export type GuestbookErrorCode =
  | 'ENTRY_INVALID' // a name or text is missing, empty or too long
  | 'REQUEST_INVALID' // not a line of the protocol
  | 'REQUEST_TOO_LARGE' // a line or body above its bound
  | 'BUSY' // too much is waiting to be stored
  | 'JOURNAL_FULL' // the file has reached its bound
  | 'JOURNAL_DAMAGED' // a line before the last one fails its checksum
  | 'DATABASE_AWAY'; // the database did not answer in time

/** An error with a code to branch on; the sentence is for people. */
export class GuestbookError extends Error {
  readonly code: GuestbookErrorCode;

  constructor(code: GuestbookErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'GuestbookError';
    this.code = code;
  }
}
