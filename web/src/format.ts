// Numbers and words as the report writes them.

export function number(value: unknown, digits = 3): string {
  if (typeof value !== "number" || !Number.isFinite(value)) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en-GB");
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en-GB");
  if (size > 0 && size < 0.001) return value.toExponential(1);
  const text = value.toFixed(digits);
  return size < 1 ? text.replace("0.", ".") : text;
}

export function percent(value: number, digits = 0): string {
  return `${(100 * value).toFixed(digits)} %`;
}

export function cell(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return number(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.map(cell).join("; ");
  if (typeof value === "object") return Object.entries(value).map(([k, v]) => `${k} ${cell(v)}`).join(", ");
  return String(value);
}

// A cell of a report's table, by the format of its column.
export function formatted(value: unknown, format: string): string {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (format === "percent") return percent(value, 1);
  if (format === "percent0") return percent(value);
  if (format === "int") return Math.round(value).toLocaleString("en-GB");
  if (format === "difference") return (value > 0 ? "+" : "") + value.toFixed(3);
  const digits = /^float(\d)$/.exec(format)?.[1];
  return digits ? value.toFixed(Number(digits)) : number(value);
}

export function day(text: string | undefined): string {
  return text ? text.slice(0, 16).replace("T", " ") : "";
}

export const VERBS: Record<string, string> = {
  churn: "Churn",
  recommend: "Recommendations",
  rank: "Ranking",
  forecast: "Forecast",
  match: "Goals",
  "match-pairs": "Match",
  "match-link": "Links",
  detect: "Strange graphs",
};
