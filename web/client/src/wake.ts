/**
 * Call a function whenever a page may have slept or lost its network, and is back: it is shown
 * again, comes out of the back/forward cache, or is online again. Elsewhere it is never called.
 *
 * @returns a function that ends it.
 */
export function onWake(listener: () => void): () => void {
  const { document, window } = globalThis as { document?: Document; window?: Window };
  const shown = () => {
    if (document?.visibilityState === 'visible') listener();
  };
  const restored = (event: PageTransitionEvent) => {
    if (event.persisted) listener();
  };
  document?.addEventListener('visibilitychange', shown);
  window?.addEventListener('online', listener);
  window?.addEventListener('pageshow', restored);
  return () => {
    document?.removeEventListener('visibilitychange', shown);
    window?.removeEventListener('online', listener);
    window?.removeEventListener('pageshow', restored);
  };
}
