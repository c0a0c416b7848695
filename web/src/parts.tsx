// Small pieces that several views share.
import type { ComponentChildren } from "preact";
import { useEffect, useId, useState } from "preact/hooks";
import type { Loaded, Row } from "./api";
import { cell } from "./format";

export function Wait<T>({ of, children, what }: { of: Loaded<T>; children: (data: T) => ComponentChildren; what: string }) {
  if (of.error) return <p class="problem" role="alert">{of.error.message}</p>;
  if (of.data === undefined) return <p class="wait" role="status">Loading {what} …</p>;
  return <div class={of.loading ? "stale" : ""} aria-busy={of.loading}>{children(of.data)}</div>;
}

export type Column = { name: string; label?: string; right?: boolean; show?: (row: Row) => ComponentChildren };

const LONG = 40; // characters of a cell that needs room

export function Grid({ caption, columns, rows, empty = "Nothing is here." }: { caption: string; columns: Column[]; rows: Row[]; empty?: string }) {
  const label = useId();
  return (
    <div class="scroll" tabIndex={0} role="region" aria-labelledby={label}>
      <table>
        <caption id={label}>{caption}</caption>
        <thead>
          <tr>{columns.map((c) => <th key={c.name} scope="col" class={c.right ? "r" : ""}>{c.label ?? c.name}</th>)}</tr>
        </thead>
        <tbody>
          {rows.map((row, k) => (
            <tr key={k}>
              {columns.map((c) => {
                const text = cell(row[c.name]);
                const kind = c.right || typeof row[c.name] === "number" ? "r" : text.length > LONG ? "long" : "";
                return <td key={c.name} class={kind}>{c.show ? c.show(row) : text}</td>;
              })}
            </tr>
          ))}
        </tbody>
      </table>
      {!rows.length && <p class="small">{empty}</p>}
    </div>
  );
}

// A field that tells its value once the typing pauses, or at once on Enter.
export function Field({ label, value, set, placeholder }: { label: string; value: string; set: (value: string) => void; placeholder?: string }) {
  const id = useId();
  const [typed, setTyped] = useState(value);
  useEffect(() => setTyped(value), [value]);
  useEffect(() => {
    if (typed === value) return undefined;
    const timer = setTimeout(() => set(typed), 250);
    return () => clearTimeout(timer);
  }, [typed]);
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input id={id} type="search" placeholder={placeholder} value={typed} autocomplete="off" onInput={(e) => setTyped(e.currentTarget.value)} onKeyDown={(e) => e.key === "Enter" && set(e.currentTarget.value)} />
    </div>
  );
}

export function Choice({ label, value, set, options }: { label: string; value: string; set: (value: string) => void; options: (string | [string, string])[] }) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <select id={id} value={value} onChange={(e) => set(e.currentTarget.value)}>
        {options.map((option) => {
          const [name, shown] = typeof option === "string" ? [option, option] : option;
          return <option key={name} value={name} selected={name === value}>{shown}</option>;
        })}
      </select>
    </div>
  );
}

export function Slider({ label, value, set, min, max, step, shown }: { label: string; value: number; set: (value: number) => void; min: number; max: number; step: number; shown: string }) {
  const id = useId();
  return (
    <div class="field slider">
      <label for={id}>{label}: <output for={id}>{shown}</output></label>
      <input id={id} type="range" min={min} max={max} step={step} value={value} aria-valuetext={shown} onInput={(e) => set(Number(e.currentTarget.value))} />
    </div>
  );
}

export type Item = { id: string; text: string };

// A search field with what it finds below, to be chosen with the pointer or the keys.
export function Finder({ label, search, choose, placeholder }: { label: string; search: (text: string, signal: AbortSignal) => Promise<Item[]>; choose: (item: Item) => void; placeholder?: string }) {
  const id = useId();
  const [text, setText] = useState("");
  const [open, setOpen] = useState(false);
  const [found, setFound] = useState<Item[]>([]);
  const [at, setAt] = useState(-1);
  useEffect(() => {
    if (!open) return undefined;
    const control = new AbortController();
    const timer = setTimeout(() => {
      search(text, control.signal).then(
        (items) => {
          if (control.signal.aborted) return;
          setFound(items);
          setAt(-1);
        },
        () => undefined, // the next key asks again
      );
    }, 120);
    return () => {
      clearTimeout(timer);
      control.abort();
    };
  }, [text, open]);
  const take = (item: Item) => {
    setOpen(false);
    setText("");
    choose(item);
  };
  return (
    <div class="field finder">
      <label for={id}>{label}</label>
      <input
        id={id}
        type="text"
        role="combobox"
        aria-expanded={open && found.length > 0}
        aria-controls={`${id}-list`}
        aria-autocomplete="list"
        aria-activedescendant={at >= 0 ? `${id}-${at}` : undefined}
        autocomplete="off"
        placeholder={placeholder}
        value={text}
        onFocus={() => setOpen(true)}
        onBlur={() => setOpen(false)}
        onInput={(e) => {
          setText(e.currentTarget.value);
          setOpen(true);
        }}
        onKeyDown={(e) => {
          if (e.key === "ArrowDown" || e.key === "ArrowUp") {
            e.preventDefault();
            setOpen(true);
            setAt((k) => Math.max(0, Math.min(found.length - 1, k + (e.key === "ArrowDown" ? 1 : -1))));
          } else if (e.key === "Enter" && found.length) {
            e.preventDefault();
            take(found[Math.max(at, 0)]!);
          } else if (e.key === "Escape") setOpen(false);
        }}
      />
      <ul id={`${id}-list`} role="listbox" aria-label={label} hidden={!open || !found.length}>
        {found.map((item, k) => (
          <li key={item.id} id={`${id}-${k}`} role="option" aria-selected={k === at} onMouseDown={(e) => e.preventDefault()} onClick={() => take(item)}>
            <strong>{item.text || item.id}</strong> {item.text && <span class="small">{item.id}</span>}
          </li>
        ))}
      </ul>
    </div>
  );
}
