// A map of points: pan, zoom and lasso by pointer, pan and zoom by keys; lines and marks drawn above it.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { makeRenderer, Nearest, within, type Eye, type PointSet, type Renderer } from "./points";
import { setParams } from "./route";

export type Mark = { x: number; y: number; label: string; strong?: boolean };
export type Line = { from: [number, number]; to: [number, number]; strong?: boolean };

export const readEye = (text: string | null): Eye => {
  const [x = 0, y = 0, zoom = 1] = (text ?? "").split(",").map(Number);
  return [x, y, zoom].every(Number.isFinite) && zoom > 0 ? { x, y, zoom } : { x: 0, y: 0, zoom: 1 };
};

export function PointMap(props: {
  points: PointSet;
  visible: Uint8Array | null;
  eye: Eye;
  marks: Mark[];
  lines: Line[];
  label: string;
  choose: (point: number) => void;
  lasso: (points: number[]) => void;
}) {
  const { points, visible, marks, lines, label, choose, lasso } = props;
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const renderer = useRef<Renderer | null>(null);
  const [eye, setEye] = useState(props.eye);
  const drawnEye = useRef(eye);
  const [size, setSize] = useState({ width: 800, height: 520 });
  const [drawing, setDrawing] = useState<[number, number][] | null>(null);
  const [mode, setMode] = useState<"pan" | "lasso">("pan");
  const drag = useRef<{ x: number; y: number; moved: boolean } | null>(null);
  const nearest = useMemo(() => new Nearest(points), [points]);

  useEffect(() => {
    renderer.current = makeRenderer(canvas.current!);
    canvas.current!.dataset.renderer = renderer.current.kind;
    const observer = new ResizeObserver(([entry]) => {
      const width = Math.round(entry!.contentRect.width);
      setSize({ width, height: Math.round(Math.min(640, Math.max(320, width * 0.62))) });
    });
    observer.observe(box.current!);
    return () => {
      observer.disconnect();
      renderer.current?.close();
    };
  }, []);
  useEffect(() => renderer.current?.set(points, visible), [points, visible]);
  useEffect(() => {
    const moving = drawnEye.current !== eye;
    drawnEye.current = eye;
    const draw = (part: boolean) => {
      renderer.current?.draw(eye, size.width, size.height, part);
      if (canvas.current) canvas.current.dataset.drawn = String(points.n);
    };
    const frame = requestAnimationFrame(() => draw(moving));
    const timer = moving ? setTimeout(() => draw(false), 200) : 0;
    return () => {
      cancelAnimationFrame(frame);
      clearTimeout(timer);
    };
  }, [eye, size, points, visible]);
  // The address follows once the hand rests: browsers refuse too many changes of it.
  useEffect(() => {
    const timer = setTimeout(() => {
      const whole = eye.x === 0 && eye.y === 0 && eye.zoom === 1;
      setParams({ eye: whole ? null : [eye.x.toFixed(4), eye.y.toFixed(4), eye.zoom.toFixed(3)].join() });
    }, 400);
    return () => clearTimeout(timer);
  }, [eye]);

  const unit = (0.96 * eye.zoom * Math.min(size.width, size.height)) / 2;
  const toScreen = (x: number, y: number): [number, number] => [size.width / 2 + (x - eye.x) * unit, size.height / 2 - (y - eye.y) * unit];
  const toMap = (px: number, py: number): [number, number] => [eye.x + (px - size.width / 2) / unit, eye.y - (py - size.height / 2) / unit];
  const place = (event: PointerEvent | WheelEvent | MouseEvent): [number, number] => {
    const rect = canvas.current!.getBoundingClientRect();
    return [((event.clientX - rect.left) * size.width) / rect.width, ((event.clientY - rect.top) * size.height) / rect.height];
  };
  const zoomBy = (factor: number, at?: [number, number]) =>
    setEye((old) => {
      const zoom = Math.min(200, Math.max(0.5, old.zoom * factor));
      if (!at) return { ...old, zoom };
      const change = (1 - old.zoom / zoom) / 1;
      return { x: old.x + (at[0] - old.x) * change, y: old.y + (at[1] - old.y) * change, zoom };
    });
  useEffect(() => {
    // Not passive, so that the page does not scroll along.
    const wheel = (event: WheelEvent) => {
      event.preventDefault();
      zoomBy(Math.exp(-event.deltaY / 400), toMap(...place(event)));
    };
    const element = canvas.current!;
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  });
  const key = (event: KeyboardEvent) => {
    const step = 0.15 / eye.zoom;
    const moves: Record<string, () => void> = {
      ArrowLeft: () => setEye({ ...eye, x: eye.x - step }),
      ArrowRight: () => setEye({ ...eye, x: eye.x + step }),
      ArrowUp: () => setEye({ ...eye, y: eye.y + step }),
      ArrowDown: () => setEye({ ...eye, y: eye.y - step }),
      "+": () => zoomBy(1.3),
      "=": () => zoomBy(1.3),
      "-": () => zoomBy(1 / 1.3),
      "0": () => setEye({ x: 0, y: 0, zoom: 1 }),
    };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    move();
  };
  return (
    <div class="map" ref={box}>
      <div class="map-tools">
        <button type="button" aria-pressed={mode === "pan"} onClick={() => setMode("pan")}>Move</button>
        <button type="button" aria-pressed={mode === "lasso"} onClick={() => setMode("lasso")}>Lasso</button>
        <button type="button" aria-label="Zoom in" onClick={() => zoomBy(1.5)}>+</button>
        <button type="button" aria-label="Zoom out" onClick={() => zoomBy(1 / 1.5)}>−</button>
        <button type="button" onClick={() => setEye({ x: 0, y: 0, zoom: 1 })}>All</button>
      </div>
      <div class="map-stage" tabIndex={0} role="application" aria-label={`${label}. Arrow keys move, plus and minus zoom, 0 shows all.`} onKeyDown={key}>
        <canvas
          ref={canvas}
          width={size.width}
          height={size.height}
          aria-hidden="true"
          onPointerDown={(event) => {
            event.currentTarget.setPointerCapture(event.pointerId);
            const [x, y] = place(event);
            drag.current = { x, y, moved: false };
            if (mode === "lasso") setDrawing([[x, y]]);
          }}
          onPointerMove={(event) => {
            const from = drag.current;
            if (!from) return;
            const [x, y] = place(event);
            if (Math.hypot(x - from.x, y - from.y) > 2) from.moved = true;
            if (mode === "lasso") setDrawing((line) => [...(line ?? []), [x, y]]);
            else {
              setEye((old) => ({ ...old, x: old.x - (x - from.x) / unit, y: old.y + (y - from.y) / unit }));
              [from.x, from.y] = [x, y];
            }
          }}
          onPointerUp={(event) => {
            const from = drag.current;
            drag.current = null;
            if (mode === "lasso" && drawing) {
              if (drawing.length > 3) lasso(within(points, drawing.map(([x, y]) => toMap(x, y)), visible));
              setDrawing(null);
            } else if (from && !from.moved) {
              const [x, y] = toMap(...place(event));
              const found = nearest.find(x, y, 10 / unit, visible);
              if (found >= 0) choose(found);
            }
          }}
        />
        <svg class="map-over" viewBox={`0 0 ${size.width} ${size.height}`} aria-hidden="true">
          {lines.map((line, k) => {
            const [x1, y1] = toScreen(...line.from);
            const [x2, y2] = toScreen(...line.to);
            return <line key={k} x1={x1} y1={y1} x2={x2} y2={y2} class={line.strong ? "pair strong" : "pair"} />;
          })}
          {marks.map((mark, k) => {
            const [x, y] = toScreen(mark.x, mark.y);
            return (
              <g key={k}>
                <circle cx={x} cy={y} r={mark.strong ? 5 : 3} class={mark.strong ? "mark strong" : "mark"} />
                <text x={x + 6} y={y - 5} class="halo">{mark.label}</text>
              </g>
            );
          })}
          {drawing && <polygon points={drawing.map((p) => p.join()).join(" ")} class="lasso" />}
        </svg>
      </div>
    </div>
  );
}
