/** Fields that a publisher sets or removes. */
import type { FieldList } from '@moat/core';
import type { HeaderChanges } from '@moat/contract';

/** Gives the list with the changes made; the same list where they change nothing. */
export function compileHeaderChanges({ set = {}, remove = [] }: HeaderChanges): (fields: FieldList) => FieldList {
  const added: FieldList = Object.entries(set);
  const gone = new Set([...remove, ...added.map(([name]) => name)]);
  return (fields) => {
    const kept = fields.some(([name]) => gone.has(name)) ? fields.filter(([name]) => !gone.has(name)) : fields;
    return added.length === 0 ? kept : [...kept, ...added];
  };
}
