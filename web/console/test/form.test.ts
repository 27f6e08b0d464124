import { beforeEach, describe, expect, test } from 'vitest';
import { parseExact } from '../src/data/json';
import { belongs, type Draft, draftOf } from '../src/functions/draft';
import { placeProblems } from '../src/functions/problems';
import { readInputs } from '../src/functions/reading';
import { type ObjectShape, shapeOf } from '../src/functions/shape';
import { freshDraft, loadDraft, saveDraft } from '../src/functions/store';

const shaped = (properties: Record<string, unknown>, required: string[] = [], $defs = {}) =>
  shapeOf({ type: 'object', properties, required, additionalProperties: false, $defs });

/** The JSON that a form sends when nothing is changed but these fields. */
function sent(shape: ObjectShape, fields: Record<string, Draft> = {}) {
  const draft = draftOf(shape) as Extract<Draft, { fields: unknown }>;
  const { inputs, problems } = readInputs(shape, {
    ...draft,
    fields: { ...draft.fields, ...fields },
  });
  return { json: JSON.stringify(inputs), problems: Object.fromEntries(problems) };
}

describe('a form that nobody touched', () => {
  test('sends the defaults, and leaves out what has none', () => {
    const shape = shaped({
      title: { type: 'string', default: 'x' },
      note: { type: 'string', default: '' },
      size: { type: 'integer' },
      flag: { type: 'boolean', default: true },
      maybe: { anyOf: [{ type: 'boolean' }, { type: 'null' }], default: null },
      tags: { type: 'array', items: { type: 'string' }, default: ['a'] },
      kind: { enum: ['a', 1, null], default: 1 },
      any: { default: null },
      map: { type: 'object', additionalProperties: { type: 'integer' }, default: { a: 1 } },
    });
    expect(sent(shape)).toEqual({
      json: '{"title":"x","flag":true,"tags":["a"],"kind":1,"any":null,"map":{"a":1}}',
      problems: {},
    });
  });

  test('says what is required', () => {
    const shape = shaped(
      { n: { type: 'integer' }, k: { enum: ['a', 'b'] }, j: {}, s: { type: 'string' } },
      ['n', 'k', 'j', 's'],
    );
    expect(Object.keys(sent(shape).problems)).toEqual(['n', 'k', 'j']);
  });
});

describe('what is typed', () => {
  const number = shaped({ n: { type: 'integer', minimum: 1, exclusiveMaximum: 10 } });

  test.each([
    ['9', '{"n":9}', undefined],
    [' 007 ', '{"n":7}', undefined],
    ['10', '{"n":10}', 'expected a number ≥ 1, < 10'],
    ['1.5', '{}', 'expected a whole number'],
    ['many', '{}', 'expected a whole number'],
    ['0x7', '{}', 'expected a whole number'],
    ['', '{}', undefined],
  ])('%j as a whole number', (text, json, problem) => {
    expect(sent(number, { n: { text } })).toEqual({
      json,
      problems: problem ? { n: problem } : {},
    });
  });

  test('keeps all digits of a whole number', () => {
    const digits = '-123456789012345678';
    const shape = shaped({ n: { type: 'integer' }, j: {} });
    const { json } = sent(shape, { n: { text: digits }, j: { text: `{"a":[${digits}]}` } });
    // A runtime without `JSON.rawJSON` rounds; browsers since 2024 and 2025 have it.
    const isExact = 'rawJSON' in JSON;
    expect(json).toBe(
      isExact
        ? `{"n":${digits},"j":{"a":[${digits}]}}`
        : `{"n":${Number(digits)},"j":{"a":[${Number(digits)}]}}`,
    );
  });

  test('is checked for its length and its pattern', () => {
    const shape = shaped({ s: { type: 'string', minLength: 2, maxLength: 3, pattern: '^a' } });
    const problem = (text: string) => sent(shape, { s: { text } }).problems.s;
    expect(problem('😀')).toBe('expected at least 2 characters');
    expect(problem('abcd')).toBe('expected at most 3 characters');
    expect(problem('bc')).toBe('expected a text that matches ^a');
    expect(problem('abc')).toBeUndefined();
  });

  test('of an emptied text is null if null is allowed', () => {
    const shape = shaped({ s: { anyOf: [{ type: 'string' }, { type: 'null' }], default: 'x' } });
    expect(sent(shape, { s: { text: '' } }).json).toBe('{"s":null}');
  });
});

describe('nested values', () => {
  const definitions = {
    Owner: {
      title: '_Owner',
      type: 'object',
      properties: { name: { type: 'string', minLength: 1 }, age: { type: 'integer', default: 3 } },
      required: ['name'],
    },
    Node: {
      type: 'object',
      properties: { kids: { type: 'array', items: { $ref: '#/$defs/Node' } } },
    },
  };

  test('have problems under their own paths', () => {
    const shape = shaped(
      { owners: { type: 'array', items: { $ref: '#/$defs/Owner' } } },
      ['owners'],
      definitions,
    );
    const draft = draftOf(shape, { owners: [{ name: '' }] });
    const { inputs, problems } = readInputs(shape, draft);
    const json = JSON.stringify(inputs);
    expect(json).toBe('{"owners":[{"name":"","age":3}]}');
    expect(Object.fromEntries(problems)).toEqual({
      'owners.0.name': 'expected at least 1 character',
    });
  });

  test('that name themselves end somewhere', () => {
    const shape = shaped({ tree: { $ref: '#/$defs/Node' } }, [], definitions);
    expect(JSON.stringify(draftOf(shape))).toContain('kids');
  });

  test('that may be null are left out until they are wanted', () => {
    const owner = { anyOf: [{ $ref: '#/$defs/Owner' }, { type: 'null' }], default: null };
    const shape = shaped({ owner }, [], definitions);
    expect(sent(shape)).toEqual({ json: '{}', problems: {} });
    const draft = draftOf(shape, { owner: { name: 'Ada' } });
    expect(readInputs(shape, draft).inputs).toEqual({ owner: { name: 'Ada', age: 3 } });
  });

  test('of a union belong to the option that they look like', () => {
    const owner = { anyOf: [{ type: 'integer' }, { $ref: '#/$defs/Owner' }] };
    const shape = shaped({ owner }, ['owner'], definitions);
    expect(sent(shape).problems).toEqual({ owner: 'a value is required' });
    const draft = draftOf(shape, { owner: { name: 'Ada' } });
    expect(readInputs(shape, draft).inputs).toEqual({ owner: { name: 'Ada', age: 3 } });
  });

  test('under names like those of prototypes stay values', () => {
    const map = { type: 'object', additionalProperties: { type: 'string' } };
    const shape = shaped({ map }, ['map']);
    const value = parseExact('{"map":{"__proto__":"a","constructor":"b"}}');
    const { inputs } = readInputs(shape, draftOf(shape, value));
    expect(JSON.stringify(inputs)).toBe('{"map":{"__proto__":"a","constructor":"b"}}');
  });
});

describe('what may be missing', () => {
  const shape = shaped(
    {
      options: {
        type: 'object',
        properties: {
          deep: { type: 'boolean' },
          names: { type: 'array', items: { type: 'string' } },
          owner: { type: 'object', properties: { name: { type: 'integer' } }, required: ['name'] },
          kinds: { type: 'array', items: { enum: ['a', 'b'] }, uniqueItems: true },
          either: { anyOf: [{ type: 'integer' }, { type: 'boolean' }] },
          none: { anyOf: [{ type: 'integer' }, { type: 'null' }] },
        },
      },
    },
    ['options'],
  );

  test('is left out until it is wanted', () => {
    expect(sent(shape)).toEqual({ json: '{"options":{}}', problems: {} });
  });

  test('is sent as it was given', () => {
    const options = { deep: false, names: [], owner: { name: 1 }, kinds: [], either: true };
    const draft = draftOf(shape, { options });
    expect(readInputs(shape, draft).inputs).toEqual({ options });
  });
});

describe('what the server finds wrong', () => {
  test('is shown beside the deepest field that it names', () => {
    const known = new Set(['owner', 'owner.name', 'sources', 'sources.0', 'json']);
    const { problems, others } = placeProblems(
      [
        'owner: Object missing required field `name`',
        'sources: Expected `str`, got `int` - at `$[0]`',
        'json: Expected `int` - at `$.a[2]`',
        'other: unknown',
        'a text without a name',
      ],
      known,
    );
    expect(Object.fromEntries(problems)).toEqual({
      owner: 'Object missing required field `name`',
      'sources.0': 'Expected `str`, got `int`',
      json: 'Expected `int` - at `$.a[2]`',
    });
    expect(others).toEqual(['other: unknown', 'a text without a name']);
  });
});

describe('a draft', () => {
  const shape = shaped({
    title: { type: 'string' },
    key: { type: 'string', format: 'password' },
    keys: { type: 'array', items: { type: 'string', writeOnly: true } },
  });

  beforeEach(() => sessionStorage.clear());

  test('is kept by the tab without its secrets', () => {
    const draft = {
      ...freshDraft(shape),
      inputs: draftOf(shape, { title: 'Tides', key: 'hush', keys: ['hush'] }),
      json: '{"key": "hush"}',
    };
    saveDraft('f', shape, draft);
    const kept = JSON.stringify({ ...sessionStorage });
    expect(kept).toContain('Tides');
    expect(kept).not.toContain('hush');
    expect(loadDraft('f', shape)).toEqual(draft); // the page itself forgets nothing
    saveDraft('f', shape, null);
    expect(sessionStorage.length).toBe(0);
    expect(loadDraft('f', shape)).toEqual(freshDraft(shape));
  });

  test('of a function that has changed since is no draft of it', () => {
    expect(belongs(shape, draftOf(shaped({ title: { type: 'boolean' } })))).toBe(false);
    sessionStorage.setItem('runcast.draft.g', '{"inputs":{"fields":{"title":7}}}');
    expect(loadDraft('g', shape)).toEqual(freshDraft(shape));
  });
});
