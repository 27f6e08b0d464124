/** The description of a function: paragraphs, and `code` in backticks. Text is only ever text. */
export function Prose({ text }: { text: string }) {
  const paragraphs = text.split(/\n\s*\n/).filter(Boolean);
  return (
    <div class="prose soft">
      {paragraphs.map((paragraph) => (
        <p key={paragraph}>{pieces(paragraph)}</p>
      ))}
    </div>
  );
}

function pieces(text: string) {
  return text
    .split(/`([^`]+)`/)
    .map((part, at) => (at % 2 ? <code key={part}>{part}</code> : part));
}
