// Requests to the service that this page came from, and to no other.
import { useEffect, useState } from "preact/hooks";

export type Row = Record<string, unknown>;
export type Rows = { rows: Row[]; total: number; next: string | null };
export type Fact = { label: string; value: string; note: string; code: boolean };
export type Card = {
  id: string;
  status: "ok" | "corrupt";
  problem?: string;
  verb: string;
  title: string;
  lead: string[];
  simulated: boolean;
  beats_baseline: boolean | null;
  facts: Fact[];
  finished: string;
  seconds: number;
  asks: string[];
  tables: string[];
};
export type Details = {
  card: Card;
  config: Record<string, unknown>;
  info: Record<string, unknown>;
  metrics: Row[];
  columns: Record<string, Record<string, string>>;
};

export class Problem extends Error {
  constructor(
    readonly status: number,
    detail: string,
  ) {
    super(detail);
  }
}

const TOKEN = "linkwise-token";
export const setToken = (token: string) => sessionStorage.setItem(TOKEN, token);

function headers(): Record<string, string> {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { authorization: `Bearer ${token}` } : {};
}

export type Params = Record<string, string | number | string[] | null | undefined>;

export function address(path: string, params: Params = {}): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (Array.isArray(value)) for (const one of value) query.append(name, one);
    else if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
  }
  const text = query.toString();
  return `../v1/${path}${text ? `?${text}` : ""}`;
}

export const runPath = (run: string, rest = "") => `runs/${encodeURIComponent(run)}${rest}`;

async function checked(answer: Response): Promise<Response> {
  if (answer.ok) return answer;
  let detail = `the service answered ${answer.status}`;
  try {
    detail = ((await answer.json()) as { detail?: string }).detail ?? detail;
  } catch {
    // not one of the service's own answers
  }
  throw new Problem(answer.status, detail);
}

export async function get<T>(path: string, params: Params = {}, signal?: AbortSignal): Promise<T> {
  const answer = await checked(await fetch(address(path, params), { headers: headers(), signal }));
  return (await answer.json()) as T;
}

export async function getBytes(path: string, params: Params, signal?: AbortSignal): Promise<ArrayBuffer> {
  const answer = await checked(await fetch(address(path, params), { headers: headers(), signal }));
  return await answer.arrayBuffer();
}

async function send(path: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  return checked(
    await fetch(address(path), {
      method: "POST",
      headers: { ...headers(), "content-type": "application/json" },
      body: JSON.stringify(body),
      signal,
    }),
  );
}

export async function post<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T> {
  return (await (await send(path, body, signal)).json()) as T;
}

// Server-sent events of a POST, which EventSource cannot send.
export async function* events(
  path: string,
  body: unknown,
  signal: AbortSignal,
): AsyncGenerator<{ event: string; data: Row }> {
  const answer = await send(path, body, signal);
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    for (let end = held.indexOf("\n\n"); end >= 0; end = held.indexOf("\n\n")) {
      const block = held.slice(0, end);
      held = held.slice(end + 2);
      const event = /^event: (.*)$/m.exec(block)?.[1];
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (event && data) yield { event, data: JSON.parse(data) as Row };
    }
  }
}

// A file: fetched with the token, and handed to the browser to be saved.
export async function download(path: string, params: Params, name: string): Promise<void> {
  const answer = await checked(await fetch(address(path, params), { headers: headers() }));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export async function allRows(path: string, params: Params, most: number, signal?: AbortSignal): Promise<Row[]> {
  const found: Row[] = [];
  let after: string | null = null;
  do {
    const page: Rows = await get<Rows>(path, { ...params, limit: 1000, after }, signal);
    found.push(...page.rows);
    after = page.next;
  } while (after !== null && found.length < most);
  return found;
}

export type Loaded<T> = { data?: T; error?: Error; loading: boolean };

// What `load` gives, again whenever `keys` change; what was asked for before is dropped.
export function useData<T>(load: (signal: AbortSignal) => Promise<T>, keys: unknown[]): Loaded<T> {
  const [state, setState] = useState<Loaded<T>>({ loading: true });
  useEffect(() => {
    const control = new AbortController();
    setState((before) => ({ data: before.data, loading: true }));
    load(control.signal).then(
      (data) => control.signal.aborted || setState({ data, loading: false }),
      (error: Error) => control.signal.aborted || setState({ error, loading: false }),
    );
    return () => control.abort();
  }, keys);
  return state;
}
