/** Codes raised by this package; beside each: meaning | remedy. */
export const IDENTITY_ERROR_CODES = [
  'KEY_FILE_MISSING', // there is no key file at this path | create one (`moat key new`), or give the right path
  'KEY_FILE_EXISTS', // a key file is already there and would be replaced | move it away first; a replaced key cannot be had back
  'KEY_FILE_EXPOSED', // group or others may read or write the key file | chmod 600 FILE; if others could read it, make a new key and rotate
  'KEY_FILE_INVALID', // the file is not a key file, is damaged, or its parts do not belong together | restore it from a backup, or make a new key
  'KEY_FILE_UNREADABLE', // the key file cannot be read: not a plain file, no permission, or an I/O error | check owner and permissions of the file and its directory
  'KEY_FILE_UNWRITABLE', // the key file cannot be written durably; the old one, if any, is untouched | check free space and permissions of the directory
  'KEY_LOCKED', // the owner key is sealed and no passphrase was given | give the passphrase by prompt or by file
  'RECOVERY_WORDS_INVALID', // the words are no recovery key: not 24, misspelt, or one is wrong | compare each word with the paper; the last one holds a checksum
  'PASSPHRASE_EMPTY', // an empty passphrase would seal nothing | choose one, or leave it out to keep a plain 0600 file
  'PASSPHRASE_WRONG', // the passphrase does not open the key file, or its header was altered | try again; a forgotten passphrase cannot be recovered
] as const;
export type IdentityErrorCode = (typeof IDENTITY_ERROR_CODES)[number];
