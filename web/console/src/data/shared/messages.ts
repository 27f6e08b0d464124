/** What windows and the shared worker say to each other. */

/**
 * What came, and the position after it; without data the position moves. LOOK stands for something
 * that only the server can say: ask it.
 */
export type Step = readonly [place: string, data: string];
export const LOOK: Step = ['', ''];

/** What a window says to the worker. */
export type Asked =
  | {
      readonly do: 'join';
      /** Names the subscription among those of the window. */
      readonly id: number;
      /** The address of the server, with a slash at its end. */
      readonly base: string;
      /** The run to follow; "" follows the list of runs. */
      readonly run: string;
      /** The path of the list, with its query. */
      readonly list: string;
      /** The position after which the window wants events. */
      readonly after: string;
      /** The secret of a link; "" if the cookie of the browser counts. */
      readonly link: string;
    }
  | { readonly do: 'leave'; readonly id: number }
  /** The server refuses the cookie: find out for all windows what it still shows. */
  | { readonly do: 'check' }
  /** The window lives: the answer to a beat. */
  | { readonly do: 'here' }
  /** The window is closed or put aside: forget all that it follows. */
  | { readonly do: 'bye' };

/** What the worker says to a window. */
export type Said =
  /** From now on frames come; the worker has read up to `place`. */
  | { readonly kind: 'joined'; readonly id: number; readonly place: string }
  | { readonly kind: 'frames'; readonly id: number; readonly frames: readonly Step[] }
  /** There is no room for another run: ask the server now and then. */
  | { readonly kind: 'full'; readonly id: number }
  /** The subscription is over. */
  | { readonly kind: 'cut'; readonly id: number }
  /** A connection lives. */
  | { readonly kind: 'beat' };
