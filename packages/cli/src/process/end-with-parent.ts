/** Preloaded (`--import`) into a program that is not ours, so that it too ends with `moat dev`. */
import { watchParent } from './parent.ts';

watchParent(process.env, () => process.kill(process.pid, 'SIGTERM'));
