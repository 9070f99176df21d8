/** Sets of addresses in an nftables table: one for all rules that speak of the same addresses in the same order. */
export class AddressSets {
  /** By what they hold. */
  readonly #names = new Map<string, string>();

  /** The set's name with its `@`; undefined where there is nobody. */
  ipv4(addresses: readonly string[]): string | undefined {
    return this.#name('ipv4', addresses);
  }

  ipv6(addresses: readonly string[]): string | undefined {
    return this.#name('ipv6', addresses);
  }

  /** A statement for each set that was asked for, in that order. */
  definitions(): string[] {
    return [...this.#names].map(([held, name]) => {
      const [family, elements = ''] = held.split(' ', 2);
      return holder(`set ${name}`, `${family}_addr`, elements.split(','));
    });
  }

  #name(family: 'ipv4' | 'ipv6', addresses: readonly string[]): string | undefined {
    if (addresses.length === 0) return undefined;
    const held = `${family} ${[...new Set(addresses)].join()}`;
    const known = this.#names.get(held) ?? `${family}_${this.#names.size + 1}`;
    this.#names.set(held, known);
    return `@${known}`;
  }
}

/** A set or map that nothing is added to: the kernel knows its size, and finds things in it in half the time. */
export function holder(head: string, type: string, elements: readonly string[]): string {
  return block(head, [`type ${type}`, `size ${elements.length}`, `elements = { ${elements.join(', ')} }`]);
}

/** A named block; its statements end with a newline each, also before the brace, which older versions of nft want. */
export function block(head: string, statements: readonly string[]): string {
  return [`${head} {`, ...statements.map((statement) => `\t${statement}`), '}'].join('\n');
}
