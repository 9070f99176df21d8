/** The process of a traffic worker. Control starts it, tells it everything, and ends it; it lives no longer than control. */
import { releaseStartupMemory, systemClock } from '@moat/core';
import { AccessLog } from '../access-log.ts';
import { createLogger } from '../logger.ts';
import { Ipc } from './ipc.ts';
import type { ControlQuestion, FromWorker, ToWorker, WorkerQuestion } from './protocol.ts';
import { TrafficWorker } from './worker.ts';

let worker: TrafficWorker | undefined;

const ipc = new Ipc<FromWorker, ToWorker, WorkerQuestion, ControlQuestion>(process, {
  onMessage: (message, handle) => {
    if (message.type !== 'start') return worker?.take(message, handle);
    const { start } = message;
    const access = new AccessLog(start.settings.accessLog);
    worker = new TrafficWorker(
      {
        clock: systemClock,
        logger: createLogger(start.level, { shared: true, access }),
        access,
        ipc,
        onDone: () => process.exit(),
      },
      start,
    );
    releaseStartupMemory();
    ipc.say({ type: 'ready' });
  },
  onQuestion: () => Promise.resolve(worker?.counts()),
});

// A terminal sends its signals to all of its processes; this one waits for what control says.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
// Without control nobody would tell it what is withdrawn.
process.on('disconnect', () => process.exit());
