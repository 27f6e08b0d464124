/** What a form asks for, made from a JSON Schema. A schema that no control fits is asked as JSON. */

type Schema = Readonly<Record<string, unknown>>;

interface Common {
  /** The name of the type, if it has one. */
  readonly title: string;
  readonly help: string;
  /** The default; undefined if there is none. */
  readonly given: unknown;
  /** Whether null is allowed. */
  readonly isNullable: boolean;
}

export type Format =
  | 'text'
  | 'long'
  | 'password'
  | 'date'
  | 'date-time'
  | 'time'
  | 'duration'
  | 'uuid'
  | 'decimal'
  | 'path'
  | 'bytes'
  | 'email'
  | 'uri';

export interface TextShape extends Common {
  readonly kind: 'text';
  readonly format: Format;
  readonly least: number;
  readonly most: number | null;
  readonly pattern: string;
}

export interface NumberShape extends Common {
  readonly kind: 'number';
  readonly isWhole: boolean;
  readonly least: number | null;
  readonly most: number | null;
  /** Whether the bounds themselves are excluded. */
  readonly isOverLeast: boolean;
  readonly isUnderMost: boolean;
  readonly step: number | null;
}

export interface FlagShape extends Common {
  readonly kind: 'flag';
}

export interface ChoiceShape extends Common {
  readonly kind: 'choice';
  readonly values: readonly unknown[];
}

export interface ObjectShape extends Common {
  readonly kind: 'object';
  readonly fields: readonly FieldShape[];
}

export interface FieldShape {
  readonly name: string;
  readonly isRequired: boolean;
  readonly shape: Shape;
}

export interface ListShape extends Common {
  readonly kind: 'list';
  readonly item: (at: number) => Shape;
  readonly least: number;
  readonly most: number | null;
}

/** Some of several values, each at most once. */
export interface ChoicesShape extends Common {
  readonly kind: 'choices';
  readonly values: readonly unknown[];
}

/** Names of the person's choice, each with a value. */
export interface MapShape extends Common {
  readonly kind: 'map';
  readonly value: Shape;
}

export interface UnionShape extends Common {
  readonly kind: 'union';
  readonly options: readonly Shape[];
}

export interface JsonShape extends Common {
  readonly kind: 'json';
}

export type Shape =
  | TextShape
  | NumberShape
  | FlagShape
  | ChoiceShape
  | ChoicesShape
  | ObjectShape
  | ListShape
  | MapShape
  | UnionShape
  | JsonShape;

/** Schemas may name themselves; deeper levels are asked as JSON. */
const MOST_DEEP = 6;
const LONG_NAMES = /(prompt|text|message|question|content|description|body|query)$/i;
const FORMATS: readonly string[] = [
  'password',
  'date',
  'date-time',
  'time',
  'duration',
  'uuid',
  'decimal',
  'path',
  'email',
  'uri',
];

/** Return the shape of a function's inputs. */
export function shapeOf(schema: Schema): ObjectShape {
  const definitions = isSchema(schema.$defs) ? schema.$defs : {};
  const shape = new Reader(definitions).read(schema, '', 0);
  return shape.kind === 'object' ? shape : { ...common(schema), kind: 'object', fields: [] };
}

class Reader {
  readonly #definitions: Schema;

  constructor(definitions: Schema) {
    this.#definitions = definitions;
  }

  read(given: unknown, name: string, depth: number): Shape {
    const schema = this.#resolved(given);
    const shared = common(schema);
    if (depth > MOST_DEEP) return { ...shared, kind: 'json' };
    if ('const' in schema) return { ...shared, kind: 'choice', values: [schema.const] };
    if (Array.isArray(schema.enum)) return choice(schema.enum, shared);
    const several = schema.anyOf ?? schema.oneOf;
    if (Array.isArray(several)) return this.#union(several, shared, name, depth);
    switch (typeOf(schema)) {
      case 'string':
        return text(schema, shared, name);
      case 'integer':
      case 'number':
        return number(schema, shared);
      case 'boolean':
        return { ...shared, kind: 'flag' };
      case 'array':
        return this.#list(schema, shared, name, depth);
      case 'object':
        return this.#object(schema, shared, name, depth);
      default:
        return { ...shared, kind: 'json' };
    }
  }

  #resolved(given: unknown): Schema {
    let schema: Schema = isSchema(given) ? given : {};
    for (let hops = 0; typeof schema.$ref === 'string' && hops < 9; hops++) {
      const { $ref, ...own } = schema;
      const found = this.#definitions[String($ref).replace('#/$defs/', '')];
      schema = { ...(isSchema(found) ? found : {}), ...own };
    }
    return schema;
  }

  #union(several: readonly unknown[], shared: Common, name: string, depth: number): Shape {
    const schemas = several.map((each) => this.#resolved(each));
    const real = schemas.filter((each) => typeOf(each) !== 'null');
    const isNullable = shared.isNullable || real.length < schemas.length;
    const options = real.map((each) => this.read(each, name, depth));
    const [only] = options;
    if (!only) return { ...shared, kind: 'json' };
    if (options.length === 1) {
      const help = shared.help || only.help;
      return { ...only, help, given: shared.given, isNullable, title: shared.title || only.title };
    }
    // Texts of several formats are one text: nothing that is typed tells them apart.
    const areTexts = options.every((each) => each.kind === 'text' && each.format !== 'bytes');
    if (areTexts) return { ...text({}, { ...shared, isNullable }, name) };
    return { ...shared, isNullable, kind: 'union', options };
  }

  #list(schema: Schema, shared: Common, name: string, depth: number): Shape {
    const least = count(schema.minItems) ?? 0;
    const most = count(schema.maxItems);
    if (Array.isArray(schema.prefixItems)) {
      const items = schema.prefixItems.map((each) => this.read(each, name, depth + 1));
      const rest: Shape = { ...common({}), kind: 'json' };
      return { ...shared, kind: 'list', least, most, item: (at) => items[at] ?? rest };
    }
    if (schema.items === undefined) return { ...shared, kind: 'json' };
    const item = this.read(schema.items, '', depth + 1);
    if (item.kind === 'choice' && schema.uniqueItems === true && !item.isNullable) {
      return { ...shared, kind: 'choices', values: item.values };
    }
    return { ...shared, kind: 'list', least, most, item: () => item };
  }

  #object(schema: Schema, shared: Common, name: string, depth: number): Shape {
    const properties = isSchema(schema.properties) ? schema.properties : {};
    const required = Array.isArray(schema.required) ? schema.required : [];
    const fields = Object.entries(properties).map(([field, inner]) => ({
      name: field,
      isRequired: required.includes(field),
      shape: this.read(inner, field, depth + 1),
    }));
    if (fields.length > 0 || schema.additionalProperties === false) {
      return { ...shared, kind: 'object', fields };
    }
    if (!isSchema(schema.additionalProperties)) return { ...shared, kind: 'json' };
    const value = this.read(schema.additionalProperties, name, depth + 1);
    return { ...shared, kind: 'map', value };
  }
}

function common(schema: Schema): Common {
  const { title, description } = schema;
  return {
    title: typeof title === 'string' ? title.replace(/^_+/, '') : '',
    help: typeof description === 'string' ? description : '',
    given: schema.default,
    isNullable: Array.isArray(schema.type) && schema.type.includes('null'),
  };
}

function choice(values: readonly unknown[], shared: Common): Shape {
  const real = values.filter((value) => value !== null);
  const isNullable = shared.isNullable || real.length < values.length;
  return { ...shared, isNullable, kind: 'choice', values: real };
}

function text(schema: Schema, shared: Common, name: string): TextShape {
  const named = FORMATS.find((each) => each === schema.format);
  const isBytes = schema.contentEncoding === 'base64' || schema.format === 'binary';
  const usual = LONG_NAMES.test(name) ? 'long' : 'text';
  const isSecret = schema.writeOnly === true;
  const format = isBytes ? 'bytes' : isSecret ? 'password' : ((named ?? usual) as Format);
  const pattern = typeof schema.pattern === 'string' ? schema.pattern : '';
  const least = count(schema.minLength) ?? 0;
  return { ...shared, kind: 'text', format, least, most: count(schema.maxLength), pattern };
}

function number(schema: Schema, shared: Common): NumberShape {
  const over = count(schema.exclusiveMinimum);
  const under = count(schema.exclusiveMaximum);
  return {
    ...shared,
    kind: 'number',
    isWhole: typeOf(schema) === 'integer',
    least: over ?? count(schema.minimum),
    most: under ?? count(schema.maximum),
    isOverLeast: over !== null,
    isUnderMost: under !== null,
    step: count(schema.multipleOf),
  };
}

function typeOf(schema: Schema): unknown {
  const { type } = schema;
  if (!Array.isArray(type)) return type;
  const real = type.filter((each) => each !== 'null');
  return real.length === 1 ? real[0] : undefined;
}

function count(value: unknown): number | null {
  return typeof value === 'number' ? value : null;
}

function isSchema(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
