/** Fields that a publisher sets or removes. */
import { RecentOf, type FieldList } from '@moat/core';
import type { HeaderChanges } from '@moat/contract';

/** Gives the list with the changes made; the same list where they change nothing, and for the same list the same one. */
export function compileHeaderChanges({ set = {}, remove = [] }: HeaderChanges): (fields: FieldList) => FieldList {
  const added: FieldList = Object.entries(set);
  const gone = new Set([...remove, ...added.map(([name]) => name)]);
  const lately = new RecentOf<FieldList, FieldList>();
  return (fields) => {
    const known = lately.get(fields);
    if (known !== undefined) return known;
    const kept = fields.some(([name]) => gone.has(name)) ? fields.filter(([name]) => !gone.has(name)) : fields;
    const changed = added.length === 0 ? kept : [...kept, ...added];
    lately.keep(fields, changed);
    return changed;
  };
}
