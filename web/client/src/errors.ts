import { CODES, type ErrorCode, PASSING_CODES } from './protocol.generated.js';
import { mayPass } from './reconnect.js';

/** The fields of a problem document that only some codes have. */
export interface ErrorDetails {
  /** What is wrong with the inputs: `invalid_inputs`. */
  readonly problems?: readonly string[];
  /** The place of an event in its batch, from 0: `invalid_event`. */
  readonly index?: number;
  /** The number that comes next: `out_of_sequence`. */
  readonly expected?: number | null;
  /** Why events cannot be read any more: `gone`. */
  readonly reason?: string;
  /** The answer that counts: `conflict`, if a question has another answer. */
  readonly decision?: Readonly<Record<string, unknown>>;
  /** The run that ended without a result; `code` is then that of its ending. */
  readonly runId?: string;
}

/**
 * What went wrong. Decide by `code`; `message` is for people.
 *
 * The codes are those of docs/protocol.md, and for a run that ended without a result (`runId`
 * is set) that of its ending, R-16.5.
 */
export class RuncastError extends Error implements ErrorDetails {
  declare readonly problems?: readonly string[];
  declare readonly index?: number;
  declare readonly expected?: number | null;
  declare readonly reason?: string;
  declare readonly decision?: Readonly<Record<string, unknown>>;
  declare readonly runId?: string;
  override readonly name = 'RuncastError';
  readonly code: ErrorCode | (string & {});
  /** The HTTP status; 0 if there was no answer. */
  readonly status: number;
  /** Whether the same call can succeed later. */
  readonly retryable: boolean;
  /** How long to wait before the same call, in seconds; null if the server did not say. */
  readonly retryAfterS: number | null;

  constructor(
    code: string,
    message: string,
    status = 0,
    retryAfterS: number | null = null,
    details: ErrorDetails = {},
  ) {
    super(message);
    this.code = code;
    this.status = status;
    this.retryable = !details.runId && (PASSING_CODES as readonly string[]).includes(code);
    this.retryAfterS = this.retryable ? retryAfterS : null;
    Object.assign(this, details);
  }
}

const BY_STATUS: Record<number, ErrorCode> = {
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not_found',
};
const MAX_DETAIL_CHARS = 8000;

/**
 * The error for an answer that is not a success.
 *
 * @param body the JSON of its body; null if it has none.
 * @param retryAfter the header `Retry-After`.
 */
export function errorOf(status: number, body: unknown, retryAfter = ''): RuncastError {
  const fields = isRecord(body) ? body : {};
  const { code, detail, retryable } = fields;
  const said = typeof detail === 'string' ? detail.slice(0, MAX_DETAIL_CHARS) : '';
  const message = said || `the server answered ${status}`;
  const retryAfterS = /^[0-9]{1,8}$/.test(retryAfter) ? Number(retryAfter) : null;
  const isText = typeof code === 'string';
  if (isText && typeof fields.run_id === 'string') {
    return new RuncastError(code, message, status, null, { runId: fields.run_id });
  }
  const known =
    isText && [...CODES, ...PASSING_CODES].some((each) => each === code)
      ? code
      : isText && code === 'method_not_allowed'
        ? 'bad_request'
        : codeOfStatus(status, retryable);
  return new RuncastError(known, message, status, retryAfterS, detailsOf(known, fields));
}

function codeOfStatus(status: number, retryable: unknown): ErrorCode {
  const isFailure = mayPass(status);
  if (retryable === true || (isFailure && retryable !== false)) return 'server_unavailable';
  if (isFailure) return 'backend_error';
  return BY_STATUS[status] ?? (status >= 400 && status < 500 ? 'bad_request' : 'peer_error');
}

function detailsOf(code: string, fields: Record<string, unknown>): ErrorDetails {
  const { problems, index, expected, reason, decision } = fields;
  switch (code) {
    case 'invalid_inputs':
      return { problems: Array.isArray(problems) ? problems.map(String) : [] };
    case 'invalid_event':
      return { index: Number.isInteger(index) ? (index as number) : 0 };
    case 'out_of_sequence':
      return { expected: Number.isInteger(expected) ? (expected as number) : null };
    case 'gone':
      return { reason: typeof reason === 'string' ? reason : 'trimmed' };
    case 'conflict':
      return isRecord(decision) ? { decision } : {};
    default:
      return {};
  }
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
