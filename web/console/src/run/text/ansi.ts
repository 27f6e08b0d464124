/** A piece of a line in one style; classes are names of `run.css`. */
export interface Segment {
  readonly text: string;
  readonly classes: string;
}

const NAMES = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white'] as const;

/**
 * Control sequences of terminals: CSI, strings (OSC, DCS, APC, PM, SOS) and two-character ones.
 * Bounded, so that an unfinished sequence hides little. Source: ECMA-48 §5.4, §5.6.
 */
const SEQUENCES =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it is about
  /(?:\x1b\[|\x9b)([0-?]{0,256})[ -/]{0,16}([@-~])|(?:\x1b[\]PX^_])[^\x07\x1b\x9c]{0,4096}(?:\x07|\x1b\\|\x9c)|\x1b[ -/]{0,16}[0-OQ-WYZ\\`-~]/g;

// biome-ignore lint/suspicious/noControlCharactersInRegex: as above
const CONTROLS = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f]/g;

interface Style {
  color: string;
  bold: boolean;
  dim: boolean;
  italic: boolean;
  underline: boolean;
  strike: boolean;
  inverse: boolean;
}

const PLAIN: Style = {
  color: '',
  bold: false,
  dim: false,
  italic: false,
  underline: false,
  strike: false,
  inverse: false,
};

/**
 * Return a log line as styled pieces, as a terminal would show it.
 *
 * Colours become one of the eight names, so that each theme can show them with enough contrast.
 * Backgrounds are left out. Everything that would move the cursor or change the terminal is left
 * out, too. Of a line that was written over by carriage returns, the last version is shown.
 */
export function readAnsi(text: string): Segment[] {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: as above
  if (!/[\0-\x08\x0b-\x1f\x7f-\x9f]/.test(text)) return text ? [{ text, classes: '' }] : [];
  const segments: Segment[] = [];
  let style = { ...PLAIN };
  let at = 0;
  const push = (piece: string): void => {
    for (const [index, part] of piece.split(/\r(?!\n)/).entries()) {
      if (index > 0 && part) overwrite(segments);
      const clean = part.replace(CONTROLS, '').replace(/\r/g, '');
      if (clean) segments.push({ text: clean, classes: classesOf(style) });
    }
  };
  for (const found of text.matchAll(SEQUENCES)) {
    push(text.slice(at, found.index));
    at = found.index + found[0].length;
    if (found[2] === 'm') style = restyle(style, found[1] ?? '');
  }
  push(text.slice(at));
  return segments;
}

/** Return a text without the codes for terminals. */
export const withoutAnsi = (text: string): string =>
  readAnsi(text)
    .map((segment) => segment.text)
    .join('');

/** Remove the line that is being written over. */
function overwrite(segments: Segment[]): void {
  while (segments.length > 0) {
    const last = segments.pop() as Segment;
    const end = last.text.lastIndexOf('\n');
    if (end >= 0) {
      segments.push({ ...last, text: last.text.slice(0, end + 1) });
      return;
    }
  }
}

function classesOf(style: Style): string {
  const names = style.color ? [`ansi-${style.color}`] : [];
  for (const name of ['bold', 'dim', 'italic', 'underline', 'strike', 'inverse'] as const) {
    if (style[name]) names.push(`ansi-${name}`);
  }
  return names.join(' ');
}

/** Apply the codes of one "select graphic rendition". Source: ECMA-48 §8.3.117. */
function restyle(style: Style, parameters: string): Style {
  let next = { ...style };
  const codes = parameters.split(/[;:]/).map((code) => Number(code || 0));
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at] ?? 0;
    if (code === 0) next = { ...PLAIN };
    else if (code === 1) next.bold = true;
    else if (code === 2) next.dim = true;
    else if (code === 3) next.italic = true;
    else if (code === 4) next.underline = true;
    else if (code === 7) next.inverse = true;
    else if (code === 9) next.strike = true;
    else if (code === 22) next.bold = next.dim = false;
    else if (code === 23) next.italic = false;
    else if (code === 24) next.underline = false;
    else if (code === 27) next.inverse = false;
    else if (code === 29) next.strike = false;
    else if (code === 39) next.color = '';
    else if (code >= 30 && code <= 37) next.color = NAMES[code - 30] ?? '';
    else if (code >= 90 && code <= 97) next.color = NAMES[code - 90] ?? '';
    else if (code === 38 || code === 48) {
      const isRgb = codes[at + 1] === 2;
      const [red = 0, green = 0, blue = 0] = codes.slice(at + 2, at + 5);
      if (code === 38)
        next.color = isRgb ? nearest(red, green, blue) : ofPalette(codes[at + 2] ?? 0);
      at += isRgb ? 4 : 2;
    }
  }
  return next;
}

/** Return the name of a colour of the palette of 256. */
function ofPalette(number: number): string {
  if (number < 16) return NAMES[number % 8] ?? '';
  if (number >= 232) return 'white';
  const at = number - 16;
  const level = (value: number): number => (value ? 55 + 40 * value : 0);
  return nearest(level(Math.floor(at / 36)), level(Math.floor(at / 6) % 6), level(at % 6));
}

/** Return the name of the hue that is nearest to a colour. */
function nearest(red: number, green: number, blue: number): string {
  const most = Math.max(red, green, blue);
  const least = Math.min(red, green, blue);
  if (most - least < 40) return 'white';
  const limit = (most + least) / 2;
  const bits = (red > limit ? 1 : 0) + (green > limit ? 2 : 0) + (blue > limit ? 4 : 0);
  return NAMES[bits] ?? '';
}
