/** Numbers, points in time and durations, as the language of the console writes them. */

import { language } from './index';

export function formatNumber(value: number, options?: Intl.NumberFormatOptions): string {
  return new Intl.NumberFormat(language.value, options).format(value);
}

/** Return a percentage without its fraction: 99.9 is not 100 yet. */
export function formatPercent(percent: number): string {
  return formatNumber(Math.floor(percent) / 100, { style: 'percent' });
}

export function formatBytes(bytes: number): string {
  const units = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'] as const;
  const power = bytes < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(bytes) / 3));
  return formatNumber(bytes / 1000 ** power, {
    style: 'unit',
    unit: units[power] ?? 'byte',
    unitDisplay: power === 0 ? 'long' : 'short',
    maximumFractionDigits: power === 0 ? 0 : 1,
  });
}

/** Return a date and a time of day. `time` is in Unix seconds. */
export function formatDateTime(time: number): string {
  return format(time, { dateStyle: 'medium', timeStyle: 'medium' });
}

/** Return a time of day, with milliseconds if asked for. */
export function formatClock(time: number, milliseconds = false): string {
  return format(time, {
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hourCycle: 'h23',
    ...(milliseconds ? { fractionalSecondDigits: 3 } : {}),
  });
}

/** Return how long ago a time was, or its date if that is more than a week. */
export function formatAgo(time: number, now = Date.now() / 1000): string {
  const passed = Math.max(0, now - time);
  const relative = new Intl.RelativeTimeFormat(language.value, { numeric: 'auto', style: 'short' });
  if (passed < 10) return relative.format(0, 'second');
  if (passed < 60) return relative.format(-Math.floor(passed / 10) * 10, 'second');
  if (passed < 3600) return relative.format(-Math.floor(passed / 60), 'minute');
  if (passed < 86400) return relative.format(-Math.floor(passed / 3600), 'hour');
  if (passed < 7 * 86400) return relative.format(-Math.floor(passed / 86400), 'day');
  return format(time, { dateStyle: 'medium' });
}

/** Return a duration in seconds as "350 ms", "4.2 s", "3 m 05 s" or "2 h 07 m". */
export function formatDuration(seconds: number): string {
  const s = Math.max(0, seconds);
  if (s < 1) return unit(Math.round(s * 1000), 'millisecond');
  if (s < 60) return unit(s, 'second', s < 10 ? 1 : 0);
  if (s < 3600) return `${unit(s / 60, 'minute')} ${unit(s % 60, 'second')}`;
  if (s < 86400) return `${unit(s / 3600, 'hour')} ${unit((s % 3600) / 60, 'minute')}`;
  return `${unit(s / 86400, 'day')} ${unit((s % 86400) / 3600, 'hour')}`;
}

function unit(value: number, name: string, digits = 0): string {
  const scale = 10 ** digits;
  return formatNumber(Math.floor(value * scale) / scale, {
    style: 'unit',
    unit: name,
    unitDisplay: 'narrow',
    minimumFractionDigits: digits,
  });
}

function format(time: number, options: Intl.DateTimeFormatOptions): string {
  return new Intl.DateTimeFormat(language.value, options).format(time * 1000);
}
