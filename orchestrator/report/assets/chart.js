// A chart: ECharts draws it when it comes into view; pointing, touching and the arrow keys are ours, so that they are
// the same in every chart, find the nearest point, and cost nothing with 10,000 of them.
"use strict";

const REACH = 28; // pixels between the pointer and what it means

class Chart {
  /**
   * @param {string} name of the element, without `chart-`.
   * @param {object} means
   *   build(width): ECharts' option;
   *   points(): {x, y, row} of what can be pointed at, in the axes' units, in the order of the arrow keys;
   *   describe(row): [title, entries] for the note;
   *   choose(row): what a click or Enter does;
   *   isLog(): whether the axis of x is logarithmic;
   *   find(points, x, y, toPixels): the number of the point at a pixel, if that is not the nearest.
   */
  constructor(name, means) {
    this.place = byId(`chart-${name}`);
    this.means = means;
    this.current = -1;
    Chart.all.set(name, this);
    new IntersectionObserver((entries, observer) => {
      if (entries.some((entry) => entry.isIntersecting)) {
        observer.disconnect();
        this.draw();
      }
    }, { rootMargin: "200px" }).observe(this.place);
  }

  /** Draws it now, if it is not drawn yet. */
  draw() {
    if (this.drawn) return;
    const canvas = element("div", { "aria-hidden": "true", class: "canvas" });
    this.ring = element("div", { class: "ring", hidden: "" });
    this.place.replaceChildren(canvas, this.ring);
    this.drawn = echarts.init(canvas, null, { renderer: "canvas" });
    this.listen(canvas);
    theme.listeners.push(() => this.refresh());
    new ResizeObserver(() => this.width !== this.place.clientWidth && this.refresh()).observe(this.place);
    this.refresh();
  }

  /** Draws it again, with whatever has changed. */
  refresh() {
    if (!this.drawn) return;
    this.leave();
    if (this.width !== this.place.clientWidth) this.drawn.resize();
    this.width = this.place.clientWidth;
    this.points = this.means.points();
    this.extent = { x: extentOf(this.points.map((point) => point.x)), y: extentOf(this.points.map((point) => point.y)) };
    this.drawn.setOption({ animation: false, ...this.means.build(this.width) }, { notMerge: true });
    this.place.dataset.drawn = "yes";
  }

  listen(canvas) {
    const near = (event) => {
      const frame = canvas.getBoundingClientRect();
      return this.nearest(event.clientX - frame.left, event.clientY - frame.top);
    };
    // A pointer that rests while the page moves below it says nothing, so what the keys have shown stays.
    let before = "";
    canvas.addEventListener("pointermove", (event) => {
      const where = `${event.clientX} ${event.clientY}`;
      this.isPointed = where !== before;
      before = where;
      if (this.isPointed) this.point(near(event));
    });
    canvas.addEventListener("pointerleave", () => this.isPointed && this.leave());
    canvas.addEventListener("click", (event) => {
      const found = near(event);
      this.point(found);
      // A finger can't point without touching: the first touch tells, one more on the same opens.
      const opens = event.pointerType !== "touch" || this.touched === found;
      this.touched = found;
      if (found >= 0 && opens) this.means.choose?.(this.points[found].row);
    });
    this.place.addEventListener("keydown", (event) => this.key(event));
    this.place.addEventListener("blur", () => this.leave());
  }

  key(event) {
    const last = this.points.length - 1;
    const to = { ArrowRight: this.current + 1, ArrowLeft: this.current - 1, Home: 0, End: last,
      PageDown: this.current + 100, PageUp: this.current - 100 }[event.key];
    if (to !== undefined && last >= 0) {
      event.preventDefault();
      this.isPointed = false;
      this.point(Math.max(0, Math.min(last, to)));
    } else if (event.key === "Enter" && this.current >= 0) {
      event.preventDefault(); // or it would press the button of the dialog that it opens
      this.means.choose?.(this.points[this.current].row);
    } else if (event.key === "Escape") {
      this.leave();
    }
  }

  /** From the axes' units to pixels, as a function; ECharts' own is too slow for 10,000 points at each move. */
  toPixels() {
    const scales = ["x", "y"].map((side) => {
      const { low, high } = this.extent[side];
      const own = side === "x" && this.means.isLog?.() ? Math.log : (value) => value;
      const ends = [low, high].map((value) => this.drawn.convertToPixel({ [`${side}AxisIndex`]: 0 }, value));
      const slope = (ends[1] - ends[0]) / (own(high) - own(low) || 1);
      return (value) => ends[0] + slope * (own(value) - own(low));
    });
    return (point) => [scales[0](point.x), scales[1](point.y)];
  }

  inside([x, y]) {
    return this.drawn.containPixel({ gridIndex: 0 }, [x, y]);
  }

  nearest(x, y) {
    if (!this.inside([x, y])) return -1;
    const toPixels = this.toPixels();
    if (this.means.find) return this.means.find(this.points, x, y, toPixels);
    let best = -1;
    let least = REACH * REACH;
    this.points.forEach((point, number) => {
      const [px, py] = toPixels(point);
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least) [best, least] = [number, distance];
    });
    return best;
  }

  /** Shows what a point is. */
  point(number) {
    if (number < 0) return this.leave();
    if (number === this.current && !byId("tip").hidden) return undefined;
    this.current = number;
    const pixels = this.toPixels()(this.points[number]);
    const frame = this.place.getBoundingClientRect();
    this.ring.hidden = !this.inside(pixels);
    this.ring.style.transform = `translate(${pixels[0]}px, ${pixels[1]}px)`;
    const [title, entries] = this.means.describe(this.points[number].row);
    tip.show(title, entries, frame.left + pixels[0], frame.top + pixels[1]);
    return undefined;
  }

  leave() {
    if (this.ring) this.ring.hidden = true;
    tip.hide();
  }
}

Chart.all = new Map();

/** The least and the most of many numbers. */
function extentOf(values) {
  return values.reduce(({ low, high }, value) => ({ low: Math.min(low, value), high: Math.max(high, value) }), {
    low: Infinity,
    high: -Infinity,
  });
}

/** What the axes of all charts look like. */
function axis(name, more = {}) {
  return {
    type: "value",
    name,
    nameLocation: "middle",
    nameGap: 30,
    nameTextStyle: { color: colour("soft") },
    axisLabel: { color: colour("soft"), hideOverlap: true },
    axisLine: { show: true, lineStyle: { color: colour("line") } },
    axisTick: { show: false },
    splitLine: { lineStyle: { color: colour("line"), opacity: 0.6 } },
    ...more,
  };
}

/** A slider below the plot that shows a part of it. */
function slider() {
  return [{
    type: "slider", xAxisIndex: 0, height: 18, bottom: 4, showDetail: false, brushSelect: false, filterMode: "none",
    borderColor: colour("line"), fillerColor: "rgba(128, 150, 190, 0.18)", backgroundColor: "transparent",
    handleStyle: { color: colour("card"), borderColor: colour("muted") }, moveHandleSize: 0,
    dataBackground: { lineStyle: { opacity: 0 }, areaStyle: { opacity: 0 } },
    selectedDataBackground: { lineStyle: { opacity: 0 }, areaStyle: { opacity: 0 } },
  }];
}

/** The sign of a line in a legend. */
const LINE = "path://M0 4H24V6H0z";

const legend = (names) => ({
  type: "scroll", top: 0, left: 0, data: names, itemWidth: 16, itemHeight: 10, inactiveColor: colour("muted"),
  textStyle: { color: colour("text") }, pageTextStyle: { color: colour("text") }, pageIconColor: colour("accent"),
});
