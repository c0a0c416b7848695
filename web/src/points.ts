// Points of a map, as the service sends them, drawn with WebGL, or on a plain canvas where there is none.
// A renderer of our own: regl and its kin compile their calls with `new Function`, which our content security
// policy rightly refuses.

export type PointSet = {
  n: number;
  x: Float32Array;
  y: Float32Array;
  row: Uint32Array;
  colour: Float32Array | null;
  frame: { x: [number, number]; y: [number, number] }; // what -1 to 1 stand for
  about: { column: string; categories?: string[]; range?: [number, number] } | null;
};
export type Eye = { x: number; y: number; zoom: number }; // the middle of the view, and 1 for the whole map

export function readPoints(buffer: ArrayBuffer): PointSet {
  const size = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)).trim()) as { n: number; colour?: PointSet["about"] } & PointSet["frame"];
  const at = (k: number) => 4 + size + 4 * header.n * k;
  return {
    n: header.n,
    frame: { x: header.x, y: header.y },
    x: new Float32Array(buffer, at(0), header.n),
    y: new Float32Array(buffer, at(1), header.n),
    row: new Uint32Array(buffer, at(2), header.n),
    colour: header.colour ? new Float32Array(buffer, at(3), header.n) : null,
    about: header.colour ?? null,
  };
}

// Twelve colours that can be told apart; categories beyond them share.
export const PALETTE = ["#0b66a8", "#c4500c", "#007a5c", "#a2478a", "#8a6500", "#4b3fb0", "#3c9dd0", "#e07b39", "#2fa37f", "#c06bb0", "#b38a1f", "#7d6fe0"];
const NONE: [number, number, number] = [150, 157, 170];
const LOW: [number, number, number] = [214, 219, 228];
const HIGH: [number, number, number] = [196, 60, 12];

function rgb(hex: string): [number, number, number] {
  return [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16)) as [number, number, number];
}

export function coloursOf(points: PointSet): Uint8Array {
  const found = new Uint8Array(4 * points.n);
  const palette = PALETTE.map(rgb);
  for (let k = 0; k < points.n; k++) {
    const value = points.colour?.[k];
    let [r, g, b] = NONE;
    if (points.about === null) [r, g, b] = palette[0]!;
    else if (value !== undefined && !Number.isNaN(value)) {
      if (points.about.range) [r, g, b] = LOW.map((low, c) => low + (HIGH[c]! - low) * value) as [number, number, number];
      else if (points.about.categories?.[value] !== "-1") [r, g, b] = palette[value % palette.length]!;
    }
    found[4 * k] = r;
    found[4 * k + 1] = g;
    found[4 * k + 2] = b;
    found[4 * k + 3] = 255;
  }
  return found;
}

const VERTEX = `attribute vec2 place; attribute vec4 colour; uniform vec2 middle; uniform vec2 scale; uniform float size;
varying vec4 shown; void main() { gl_Position = vec4((place - middle) * scale, 0.0, 1.0); gl_PointSize = size; shown = colour; }`;
const FRAGMENT = `precision mediump float; varying vec4 shown; uniform float opacity;
void main() { vec2 d = gl_PointCoord - 0.5; if (dot(d, d) > 0.25) discard; gl_FragColor = vec4(shown.rgb, opacity); }`;

// In an order drawn by lot, the same each time: the first points are a sample of all, and none of the colours
// always lies on top.
function shuffled(order: Uint32Array): Uint32Array {
  let state = 1;
  for (let k = order.length - 1; k > 0; k--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const other = Math.floor((state / 2 ** 32) * (k + 1));
    [order[k], order[other]] = [order[other]!, order[k]!];
  }
  return order;
}

const MOVING = 100_000; // points that are drawn while the map moves; all of them once it rests

export interface Renderer {
  readonly kind: "WebGL" | "canvas";
  set(points: PointSet, visible: Uint8Array | null): void;
  draw(eye: Eye, width: number, height: number, moving: boolean): void;
  close(): void;
}

function pointSize(n: number, zoom: number): number {
  return Math.min(12, Math.max(1.5, (n > 200_000 ? 1.6 : n > 20_000 ? 2.6 : n > 2000 ? 4 : 6) * zoom ** 0.35));
}

class WebGLRenderer implements Renderer {
  readonly kind = "WebGL";
  private n = 0;
  private total = 0;
  private readonly place: WebGLBuffer;
  private readonly colour: WebGLBuffer;
  private readonly uniforms: Record<string, WebGLUniformLocation | null> = {};

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly gl: WebGLRenderingContext,
  ) {
    const program = gl.createProgram()!;
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]] as const) {
      const shader = gl.createShader(kind)!;
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.bindAttribLocation(program, 0, "place");
    gl.bindAttribLocation(program, 1, "colour");
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program) ?? "WebGL");
    gl.useProgram(program);
    for (const name of ["middle", "scale", "size", "opacity"]) this.uniforms[name] = gl.getUniformLocation(program, name);
    this.place = gl.createBuffer()!;
    this.colour = gl.createBuffer()!;
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
  }

  set(points: PointSet, visible: Uint8Array | null): void {
    const { gl } = this;
    const colours = new Uint32Array(coloursOf(points).buffer);
    const kept = shuffled(visible ? indices(visible) : Uint32Array.from({ length: points.n }, (_, k) => k));
    this.n = kept.length;
    this.total = points.n;
    const place = new Float32Array(2 * this.n);
    const shown = new Uint32Array(this.n);
    for (let k = 0; k < this.n; k++) {
      const from = kept[k]!;
      place[2 * k] = points.x[from]!;
      place[2 * k + 1] = points.y[from]!;
      shown[k] = colours[from]!;
    }
    gl.bindBuffer(gl.ARRAY_BUFFER, this.place);
    gl.bufferData(gl.ARRAY_BUFFER, place, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.colour);
    gl.bufferData(gl.ARRAY_BUFFER, shown, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(1);
    gl.vertexAttribPointer(1, 4, gl.UNSIGNED_BYTE, true, 0, 0);
  }

  draw(eye: Eye, width: number, height: number, moving: boolean): void {
    const { gl, canvas, uniforms } = this;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const unit = 0.96 * eye.zoom;
    gl.uniform2f(uniforms.middle!, eye.x, eye.y);
    gl.uniform2f(uniforms.scale!, unit * Math.min(1, height / width), unit * Math.min(1, width / height));
    gl.uniform1f(uniforms.size!, pointSize(this.total, eye.zoom));
    gl.uniform1f(uniforms.opacity!, this.total > 50_000 ? 0.55 : 0.8);
    gl.drawArrays(gl.POINTS, 0, moving ? Math.min(MOVING, this.n) : this.n);
  }

  close(): void {
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

class CanvasRenderer implements Renderer {
  readonly kind = "canvas";
  private points: PointSet | null = null;
  private kept: Uint32Array | null = null;
  private colours: Uint8Array = new Uint8Array(0);

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly context: CanvasRenderingContext2D,
  ) {}

  set(points: PointSet, visible: Uint8Array | null): void {
    this.points = points;
    this.colours = coloursOf(points);
    this.kept = visible ? indices(visible) : null;
  }

  // Pixels are set one by one: 650,000 circles of a canvas would take seconds, so many squares do not.
  draw(eye: Eye, width: number, height: number): void {
    const { canvas, context, points, colours } = this;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    context.clearRect(0, 0, width, height);
    if (!points) return;
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const packed = new Uint32Array(colours.buffer);
    const unit = (0.96 * eye.zoom * Math.min(width, height)) / 2;
    const half = Math.max(0, Math.round(pointSize(points.n, eye.zoom) / 2) - 1);
    const n = this.kept ? this.kept.length : points.n;
    for (let k = 0; k < n; k++) {
      const from = this.kept ? this.kept[k]! : k;
      const px = Math.round(width / 2 + (points.x[from]! - eye.x) * unit);
      const py = Math.round(height / 2 - (points.y[from]! - eye.y) * unit);
      if (px < half || py < half || px >= width - half || py >= height - half) continue;
      for (let y = py - half; y <= py + half; y++) for (let x = px - half; x <= px + half; x++) pixels[y * width + x] = packed[from]!;
    }
    context.putImageData(image, 0, 0);
  }

  close(): void {}
}

function indices(visible: Uint8Array): Uint32Array {
  const found = new Uint32Array(visible.reduce((sum, v) => sum + v, 0));
  let n = 0;
  visible.forEach((v, k) => {
    if (v) found[n++] = k;
  });
  return found;
}

export function makeRenderer(canvas: HTMLCanvasElement): Renderer {
  try {
    const gl = canvas.getContext("webgl", { antialias: false, preserveDrawingBuffer: true, premultipliedAlpha: false });
    if (gl) return new WebGLRenderer(canvas, gl);
  } catch {
    // the browser has WebGL and cannot use it
  }
  return new CanvasRenderer(canvas, canvas.getContext("2d")!);
}

// A grid over the map by which the point under the pointer is found without looking at all.
export class Nearest {
  private readonly first: Uint32Array;
  private readonly order: Uint32Array;

  constructor(
    private readonly points: PointSet,
    private readonly cells = 256,
  ) {
    const { n } = points;
    const of = new Uint32Array(n);
    this.first = new Uint32Array(cells * cells + 1);
    for (let k = 0; k < n; k++) {
      of[k] = this.cell(points.x[k]!) + cells * this.cell(points.y[k]!);
      this.first[of[k]! + 1]!++;
    }
    for (let c = 0; c < cells * cells; c++) this.first[c + 1]! += this.first[c]!;
    const next = this.first.slice();
    this.order = new Uint32Array(n);
    for (let k = 0; k < n; k++) this.order[next[of[k]!]!++] = k;
  }

  private cell(value: number): number {
    return Math.min(this.cells - 1, Math.max(0, Math.floor(((value + 1) / 2) * this.cells)));
  }

  // The nearest point within a distance, or -1.
  find(x: number, y: number, within: number, visible: Uint8Array | null): number {
    const { points, cells } = this;
    let best = -1;
    let nearest = within * within;
    for (let cy = this.cell(y - within); cy <= this.cell(y + within); cy++) {
      for (let cx = this.cell(x - within); cx <= this.cell(x + within); cx++) {
        const c = cx + cells * cy;
        for (let k = this.first[c]!; k < this.first[c + 1]!; k++) {
          const point = this.order[k]!;
          if (visible && !visible[point]) continue;
          const d = (points.x[point]! - x) ** 2 + (points.y[point]! - y) ** 2;
          if (d <= nearest) [best, nearest] = [point, d];
        }
      }
    }
    return best;
  }
}

// Which points lie within a polygon (even-odd rule).
export function within(points: PointSet, polygon: [number, number][], visible: Uint8Array | null): number[] {
  const found: number[] = [];
  for (let k = 0; k < points.n; k++) {
    if (visible && !visible[k]) continue;
    const [x, y] = [points.x[k]!, points.y[k]!];
    let inside = false;
    for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
      const [xi, yi] = polygon[i]!;
      const [xj, yj] = polygon[j]!;
      if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
    }
    if (inside) found.push(k);
  }
  return found;
}
