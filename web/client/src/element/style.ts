/** The look of the element. Pages change it by the variables, and by `::part`. */
export const STYLE = `
:host {
  --_accent: var(--runcast-accent, light-dark(#1a5fb4, #78aeed));
  --_text: var(--runcast-text, light-dark(#1c1c1f, #ececf0));
  --_quiet: var(--runcast-quiet, light-dark(#5e5c64, #a8a6b0));
  --_surface: var(--runcast-surface, light-dark(#ffffff, #1e1e22));
  --_raised: var(--runcast-raised, light-dark(#f4f4f6, #2a2a30));
  --_line: var(--runcast-line, light-dark(#d8d7dd, #45444d));
  --_good: var(--runcast-good, light-dark(#1a7f37, #57c07a));
  --_bad: var(--runcast-bad, light-dark(#b3261e, #f2938c));
  color-scheme: light dark;
  display: block;
  box-sizing: border-box;
  padding: var(--runcast-padding, 1rem);
  border: 1px solid var(--_line);
  border-radius: var(--runcast-radius, 0.6rem);
  background: var(--_surface);
  color: var(--_text);
  font: var(--runcast-font, 0.95rem/1.5 system-ui, sans-serif);
}
:host([hidden]), [hidden] { display: none !important; }
* { box-sizing: border-box; }
header { display: flex; flex-wrap: wrap; gap: 0.4rem 0.8rem; align-items: baseline; }
h2 { margin: 0; font-size: 1.05em; overflow-wrap: anywhere; }
.status { color: var(--_quiet); }
.status[data-status='done'] { color: var(--_good); }
.status[data-status='failed'], .error { color: var(--_bad); }
.connection { margin-inline-start: auto; color: var(--_quiet); font-size: 0.85em; }
.bar { display: grid; grid-template-columns: 1fr auto; gap: 0 0.8rem; margin-top: 0.6rem; }
.bar span:last-of-type { color: var(--_quiet); font-variant-numeric: tabular-nums; }
progress { grid-column: 1 / -1; width: 100%; height: 0.5rem; accent-color: var(--_accent); }
ul { list-style: none; margin: 0.6rem 0 0; padding: 0; }
li { display: flex; gap: 0.6rem; overflow-wrap: anywhere; }
li .quiet, .quiet { color: var(--_quiet); }
li::before { content: '○'; color: var(--_quiet); }
li.open::before { content: '●'; color: var(--_accent); }
li.ended::before { content: '✓'; color: var(--_good); }
li.error::before { content: '✗'; color: var(--_bad); }
.text { margin: 0.6rem 0 0; white-space: pre-wrap; overflow-wrap: anywhere; }
details { margin-top: 0.6rem; }
summary { cursor: pointer; overflow-wrap: anywhere; }
pre {
  margin: 0.3rem 0 0; padding: 0.6rem; max-height: 20rem; overflow: auto;
  border-radius: 0.4rem; background: var(--_raised);
  font: 0.85em/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere;
}
fieldset { margin: 0.8rem 0 0; padding: 0.8rem; border: 1px solid var(--_accent); border-radius: 0.5rem; }
legend { padding: 0 0.4rem; font-weight: 600; overflow-wrap: anywhere; }
textarea, input, button { font: inherit; color: inherit; }
textarea, input {
  display: block; width: 100%; margin: 0.2rem 0 0.6rem; padding: 0.5rem; field-sizing: content; min-height: 2.5rem;
  border: 1px solid var(--_line); border-radius: 0.4rem; background: var(--_surface);
}
textarea.code { font: 0.85em/1.5 ui-monospace, monospace; }
button {
  margin: 0.2rem 0.4rem 0 0; padding: 0.35rem 0.8rem; cursor: pointer;
  border: 1px solid var(--_line); border-radius: 0.4rem; background: var(--_raised);
}
button:disabled { cursor: default; opacity: 0.6; }
button:focus-visible, textarea:focus-visible, input:focus-visible, summary:focus-visible, a:focus-visible {
  outline: 2px solid var(--_accent); outline-offset: 2px;
}
a { color: var(--_accent); }
`;

/** Give a shadow root its style: under a strict policy, where `<style>` is not allowed, too. */
export function dress(root: ShadowRoot): void {
  try {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
  } catch {
    const style = document.createElement('style');
    style.textContent = STYLE;
    root.append(style);
  }
}
