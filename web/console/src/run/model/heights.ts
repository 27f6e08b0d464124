/**
 * The heights of many rows: estimated until a row was measured.
 *
 * Sums are kept in a Fenwick tree, so that both questions of a virtual list, where a row begins and
 * which row is at a place, take O(log n). Source: Fenwick, 1994.
 */
export class Heights {
  readonly #estimate: number;
  #heights: number[] = [];
  #tree: number[] = [0];

  constructor(estimate: number) {
    this.#estimate = estimate;
  }

  get count(): number {
    return this.#heights.length;
  }

  get total(): number {
    return this.before(this.count);
  }

  /** Have this many rows; further ones have the estimated height. */
  resize(count: number): void {
    if (count < this.count) {
      this.#heights.length = count;
      this.#tree.length = count + 1;
      return;
    }
    for (let at = this.count + 1; at <= count; at += 1) {
      this.#heights.push(this.#estimate);
      // The sum of a new node is its own height and those of its children.
      let sum = this.#estimate;
      const from = at - (at & -at);
      for (let child = at - 1; child > from; child -= child & -child) sum += this.#tree[child] ?? 0;
      this.#tree.push(sum);
    }
  }

  /** Set a row's height; return by how much it changed. */
  set(row: number, height: number): number {
    const change = height - (this.#heights[row] ?? 0);
    if (row >= this.count || change === 0) return 0;
    this.#heights[row] = height;
    for (let at = row + 1; at < this.#tree.length; at += at & -at) {
      this.#tree[at] = (this.#tree[at] ?? 0) + change;
    }
    return change;
  }

  /** The heights of all rows before this one. */
  before(row: number): number {
    let sum = 0;
    for (let at = Math.min(row, this.count); at > 0; at -= at & -at) sum += this.#tree[at] ?? 0;
    return sum;
  }

  /** The row at a place; the last one below all rows. */
  rowAt(top: number): number {
    let row = 0;
    let left = top;
    let step = 1;
    while (step * 2 <= this.count) step *= 2;
    for (; step > 0; step >>>= 1) {
      const next = row + step;
      const sum = this.#tree[next];
      if (next <= this.count && sum !== undefined && sum <= left) {
        row = next;
        left -= sum;
      }
    }
    return Math.max(0, Math.min(row, this.count - 1));
  }
}
