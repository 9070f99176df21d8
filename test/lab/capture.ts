/** Packets as tcpdump saw them, for claims that something did not happen on a wire. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** Lines kept; more are counted and not kept. */
const MAX_LINES = 50_000;

export class Capture {
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];
  #rest = '';

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const lines = `${this.#rest}${text}`.split('\n');
      this.#rest = lines.pop() ?? '';
      for (const line of lines) if (line !== '' && this.#lines.length < MAX_LINES) this.#lines.push(line);
    });
  }

  /** Resolves once packets are seen: what is sent afterwards is in it. */
  static async start(namespace: string, filter: string): Promise<Capture> {
    const flags = ['-i', 'any', '-nn', '-tt', '-l', '--immediate-mode', '-s', '128'];
    const child = spawn('ip', ['netns', 'exec', namespace, 'tcpdump', ...flags, filter], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const capture = new Capture(child);
    let said = '';
    await new Promise<void>((resolve, reject) => {
      child.once('exit', () => reject(new Error(`tcpdump ended: ${said}`)));
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        if (said.includes('listening on')) resolve();
      });
    });
    return capture;
  }

  /** One line a packet, so far; it begins with its time, in seconds since 1970. */
  get lines(): readonly string[] {
    return this.#lines;
  }

  end(): void {
    this.#child.kill('SIGKILL');
  }

  /** All that was seen, when nothing more comes. */
  async stop(): Promise<readonly string[]> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exit = once(this.#child, 'close');
      this.#child.kill('SIGINT');
      await exit;
    }
    return this.#lines;
  }
}
