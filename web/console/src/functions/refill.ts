/** Fills a form with the inputs of an earlier run. */

import type { FunctionDescription } from '@runcast/client';
import { BASE } from '../data/client';
import { parseExact } from '../data/json';
import { draftOf, isRecord } from './draft';
import { shapeOf } from './shape';
import { type FormDraft, freshDraft } from './store';

export interface Refilled {
  readonly draft: FormDraft;
  /** Inputs that the server did not keep. */
  readonly leftOut: readonly string[];
  /** Files that the run was given. */
  readonly files: number;
  /** Whether the server keeps inputs of this function. */
  readonly isKept: boolean;
}

/** Return the form of a function with the inputs and labels of a run. Throws if there is none. */
export async function refill(known: FunctionDescription, runId: string): Promise<Refilled> {
  const response = await fetch(`${BASE}runs/${encodeURIComponent(runId)}`);
  const run = parseExact(await response.text());
  if (!response.ok || !isRecord(run)) {
    throw new Error(isRecord(run) ? String(run.detail) : `HTTP ${response.status}`);
  }
  const shape = shapeOf(known.inputs as never);
  const inputs = isRecord(run.inputs) ? run.inputs : {};
  const values = isRecord(inputs.values) ? inputs.values : {};
  const leftOut = isRecord(inputs.left_out) ? Object.keys(inputs.left_out) : [];
  const files = isRecord(inputs.files) ? Object.values(inputs.files) : [];
  const labels = isRecord(run.labels) ? Object.entries(run.labels) : [];
  const given = shape.fields.some((field) => field.name in values) ? values : {};
  return {
    draft: {
      ...freshDraft(shape),
      inputs: draftOf(shape, given),
      labels: labels.map(([name, value]) => ({ name, value: String(value) })),
    },
    leftOut,
    files: files.reduce<number>((sum, count) => sum + Number(count), 0),
    isKept: isRecord(run.inputs),
  };
}
