import type { RunSource } from '../stores.js';
import { make, setText } from './dom.js';
import type { Texts } from './texts.js';

/** A field that sends a message into a run. What could not be sent stays in it. */
export function messageForm(source: RunSource, id: string, texts: Texts): HTMLFormElement {
  const field = make('input', { type: 'text', 'aria-label': texts.message });
  const button = make('button', { type: 'submit' }, texts.send);
  const problem = make('p', { class: 'error', role: 'alert' });
  problem.hidden = true;
  const form = make('form', { part: 'message' }, field, button, problem);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const text = field.value.trim();
    if (!text || button.disabled) return;
    button.disabled = true;
    problem.hidden = true;
    source
      .send?.(id, text)
      .then(() => {
        if (field.value.trim() === text) field.value = '';
      })
      .catch((failure: unknown) => {
        problem.hidden = false;
        setText(problem, failure instanceof Error ? failure.message : String(failure));
      })
      .finally(() => {
        button.disabled = false;
      });
  });
  return form;
}
