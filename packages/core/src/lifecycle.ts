/**
 * Something that opens resources. Constructors only store; `start` opens into an
 * `AsyncDisposableStack` that is rolled back when it fails; `stop` is idempotent and closes in reverse order.
 */
export interface Service extends AsyncDisposable {
  start(options: { readonly signal: AbortSignal }): Promise<void>;
  stop(): Promise<void>;
}
