// Where the user is: everything a view shows is in the address, so that it can be sent and gone back to.
import { useEffect, useState } from "preact/hooks";

export type Route = { run: string | null; view: string; params: URLSearchParams };

export function readRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?");
  const parts = path.split("/").map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part; // an address typed by hand
    }
  });
  const params = new URLSearchParams(query);
  if (parts[0] === "run" && parts[1]) return { run: parts[1], view: parts[2] ?? "", params };
  return { run: null, view: "", params };
}

export function href(run: string | null, view = "", params: Record<string, string> = {}): string {
  const query = new URLSearchParams(params).toString();
  const path = run === null ? "#/" : `#/run/${encodeURIComponent(run)}${view ? `/${view}` : ""}`;
  return query ? `${path}?${query}` : path;
}

export function useRoute(): Route {
  const [route, setRoute] = useState(() => readRoute(location.hash));
  useEffect(() => {
    const changed = () => setRoute(readRoute(location.hash));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

// Changes of a filter or slider replace the entry of the history; going somewhere else adds one.
export function setParams(changes: Record<string, string | null>, keep = false): void {
  const { run, view, params } = readRoute(location.hash);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") params.delete(name);
    else params.set(name, value);
  }
  const next = href(run, view, Object.fromEntries(params));
  if (next === location.hash) return;
  if (keep) location.hash = next;
  else {
    history.replaceState(null, "", next);
    dispatchEvent(new HashChangeEvent("hashchange"));
  }
}
