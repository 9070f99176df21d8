/** Which turn of the loop it is: see `BalancerDeps.turn`. Costs one `setImmediate` a turn, while somebody asks. */
let turn = 0;
let asked = false;

/** The same number until the turn ends. */
export function loopTurn(): number {
  if (!asked) {
    asked = true;
    setImmediate(next);
  }
  return turn;
}

function next(): void {
  asked = false;
  turn += 1;
}
