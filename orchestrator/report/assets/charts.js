// The charts of one run.
"use strict";

const everyRow = trials.index.map((_, row) => row);
const scoredRows = everyRow.filter((row) => trials.score[row] !== null);
const failedRows = everyRow.filter((row) => text(trials.status, row) === "failed");

const KINDS = [
  { name: "candidate", colour: "dot", symbol: "circle" },
  { name: "became the baseline", colour: "best", symbol: "diamond" },
  { name: "control, confirmation", colour: "muted", symbol: "emptyCircle" },
  { name: "start, refresh, full training", colour: "good", symbol: "triangle" },
];

/** Which of KINDS a job with a score is. */
function kindOf(row) {
  const role = text(trials.role, row);
  if (trials.is_baseline[row] && role !== "start" && role !== "refresh") return 1;
  if (role === "candidate" || role === "trial") return 0;
  return role === "control" || role === "confirmation" ? 2 : 3;
}

/** From where to where scores are shown: the few that are far worse than all others would hide what matters. */
const shownScores = (function () {
  const sorted = scoredRows.map((row) => 100 * trials.score[row]).sort((a, b) => a - b);
  if (!sorted.length) return { low: 0, high: 100 };
  const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
  const few = sorted.length > 50;
  const judged = trials.best_score.filter((score) => score !== null).map((score) => 100 * score);
  const low = Math.min(few && data.maximize ? at(0.03) : sorted[0], extentOf(judged).low);
  const high = Math.max(few && !data.maximize ? at(0.97) : sorted.at(-1), extentOf(judged).high);
  const room = 0.06 * (high - low) || 1;
  return { low: low - room, high: high + room };
})();
const clamp = (score) => Math.max(shownScores.low, Math.min(shownScores.high, 100 * score));
const scoreAxis = (name) => axis(name, { min: shownScores.low, max: shownScores.high, nameGap: 36,
  axisLabel: { color: colour("soft"), formatter: (value) => value.toFixed(shownScores.high - shownScores.low > 5 ? 0 : 1), showMinLabel: false, showMaxLabel: false } });

/** The points of all kinds as series; `at(row)` gives [x, y]. */
function clouds(at, rows) {
  const size = rows.length > 2000 ? 4 : rows.length > 300 ? 6 : 8;
  return KINDS.map((kind, number) => ({
    type: "scatter",
    name: kind.name,
    symbol: kind.symbol,
    symbolSize: number === 0 ? size : Math.max(size, 6) + (number % 2) * 2,
    data: rows.filter((row) => kindOf(row) === number).map(at),
    itemStyle: { color: colour(kind.colour), opacity: number === 0 && rows.length > 300 ? 0.6 : 0.95 },
    large: rows.length > 2000 && number !== 1,
    largeThreshold: 500,
    silent: true,
    z: 2 + (number === 1),
  })).filter((series) => series.data.length);
}

const grid = (bottom, right = 16) => ({ left: 56, right, top: 34, bottom });

// Trajectory: the paper's Figure 3.
if (byId("chart-trajectory")) {
  const by = () => document.querySelector('input[name="by"]:checked').value;
  const at = (row) => (by() === "job" ? trials.index[row] : trials.hours[row]);
  const isShown = (row) => at(row) !== null;
  const bottom = () => (data.maximize ? shownScores.low : shownScores.high);

  const bestLine = () => {
    const told = everyRow.filter((row) => trials.best_score[row] !== null && isShown(row));
    const changes = told.filter((row, n) => n === 0 || n === told.length - 1 || trials.best_score[row] !== trials.best_score[told[n - 1]]);
    return changes.map((row) => [at(row), 100 * trials.best_score[row]]);
  };
  const edge = (index, isEnd) => {
    if (by() === "job") return index + (isEnd ? 0.5 : -0.5);
    const row = rowOf.get(isEnd ? index : index - 1);
    return row === undefined ? 0 : trials.hours[row] ?? extentOf(trials.hours.filter((hours) => hours !== null)).high;
  };
  const bands = (width) => ({
    silent: true,
    label: { position: "insideTop", color: colour("soft"), fontSize: 11 },
    data: data.phases.map((span, number) => {
      const [from, to] = [edge(span.first, false), edge(span.last, true)];
      const room = (width * (to - from)) / (edge(data.phases.at(-1).last, true) || 1);
      const look = { color: number % 2 ? "transparent" : colour("band"), opacity: 0.8 };
      return [{ name: span.name, xAxis: from, itemStyle: look, label: { show: room > 7 * span.name.length } }, { xAxis: to }];
    }),
  });
  const reignitions = () => ({
    silent: true, symbol: "none", lineStyle: { color: colour("warn"), type: "dashed", width: 1.5 },
    label: { show: data.reignitions.length < 8, formatter: "reignited", color: colour("warn"), position: "insideEndBottom", rotate: 90 },
    data: data.reignitions.filter((each) => isShown(rowOf.get(each.pretrain))).map((each) => ({ xAxis: at(rowOf.get(each.pretrain)) })),
  });
  const trajectory = new Chart("trajectory", {
    points: () => [
      ...scoredRows.filter(isShown).map((row) => ({ x: at(row), y: clamp(trials.score[row]), row })),
      ...failedRows.filter(isShown).map((row) => ({ x: at(row), y: bottom(), row })),
    ].sort((a, b) => a.row - b.row),
    describe,
    choose: openDetails,
    build: (width) => {
      const series = clouds((row) => [at(row), clamp(trials.score[row])], scoredRows.filter(isShown));
      const failed = failedRows.filter(isShown).map((row) => [at(row), bottom()]);
      if (failed.length) {
        series.push({ type: "scatter", name: "failed", symbol: "path://M0 0L8 8M8 0L0 8", symbolSize: failed.length > 200 ? 4 : 7, silent: true, clip: false,
          itemStyle: { color: "transparent", borderColor: colour("bad"), borderWidth: 1.5 }, data: failed });
      }
      series.unshift({ type: "line", name: "best so far", step: "end", data: bestLine(), showSymbol: false, silent: true, z: 4,
        lineStyle: { color: colour("best"), width: 2 }, itemStyle: { color: colour("best") }, markArea: bands(width), markLine: reignitions() });
      const end = by() === "job" ? trials.index.at(-1) + 0.5 : null;
      return {
        legend: legend(series.map((each) => (each.type === "line" ? { name: each.name, icon: LINE } : each.name))),
        grid: grid(66),
        dataZoom: slider(),
        xAxis: axis(by() === "job" ? "job, in the order of decision" : data.hourName, { min: by() === "job" ? -0.5 : 0, max: end, minInterval: by() === "job" ? 1 : 0,
          splitLine: { show: false }, axisLabel: { color: colour("soft"), hideOverlap: true, showMinLabel: false, showMaxLabel: false } }),
        yAxis: scoreAxis(`${data.metric}, %`),
        series,
      };
    },
  });
  const outside = scoredRows.filter((row) => clamp(trials.score[row]) !== 100 * trials.score[row]).length;
  for (const note of outside ? document.querySelectorAll(".outside-note") : []) {
    note.textContent = `${count(outside)} far worse ${outside > 1 ? "ones stand" : "one stands"} at the edge. `;
  }
  byId("trajectory-by").addEventListener("change", () => trajectory.refresh());
}

// Accuracy against cost, with the front.
if (byId("chart-front")) {
  const rows = scoredRows;
  const at = (row) => [trials.gflops[row], clamp(trials.score[row])];
  const extent = extentOf(rows.map((row) => trials.gflops[row]));
  const isLog = () => extent.low > 0 && extent.high / extent.low > 20;
  const front = data.front.map((index) => at(rowOf.get(index)));
  const named = [["start", data.start, "good"], ["best", data.best, "best"]]
    .filter(([, index]) => index !== null && trials.score[rowOf.get(index)] !== null);
  new Chart("front", {
    isLog,
    points: () => rows.map((row) => ({ x: at(row)[0], y: at(row)[1], row })).sort((a, b) => a.x - b.x || a.y - b.y),
    describe,
    choose: openDetails,
    build: () => {
      const series = clouds(at, rows);
      series.push({ type: "line", name: "front", data: front, step: "end", symbol: "emptyCircle", symbolSize: 8, showAllSymbol: true, silent: true, z: 5,
        lineStyle: { color: colour("text"), width: 1.5 }, itemStyle: { color: colour("text") } });
      for (const [name, index, hue] of named) {
        series.push({ type: "scatter", name: ` ${name}`, silent: true, z: 6, symbol: "pin", symbolSize: 34, data: [at(rowOf.get(index))], itemStyle: { color: colour(hue) },
          label: { show: true, formatter: name, position: "top", color: colour("text"), fontWeight: "bold", textBorderColor: colour("card"), textBorderWidth: 3 } });
      }
      const room = 0.04 * (extent.high - extent.low) || 0.1 * extent.high;
      return {
        legend: legend(series.filter((each) => !each.name.startsWith(" ")).map((each) => each.name)),
        grid: { ...grid(46), top: 70 }, // room for a pin on the best
        xAxis: axis("GFLOPs", isLog() ? { type: "log" } : { min: Math.max(0, extent.low - room), max: extent.high + room,
          axisLabel: { color: colour("soft"), hideOverlap: true, showMinLabel: false, showMaxLabel: false, formatter: giga } }),
        yAxis: scoreAxis(`${data.metric}, %`),
        series,
      };
    },
  });
}

// The stuck counter.
if (byId("chart-counter")) {
  const rows = everyRow.filter((row) => trials.counter[row] !== null);
  const at = (row) => [trials.index[row], trials.counter[row]];
  const limits = data.phases.filter((span) => span.phase in data.stuck);
  new Chart("counter", {
    points: () => rows.map((row) => ({ x: at(row)[0], y: at(row)[1], row })),
    describe: (row) => {
      const [title, entries] = describe(row);
      return [title, [["stuck counter", trials.counter[row]], ...entries]];
    },
    choose: openDetails,
    build: () => ({
      grid: { ...grid(66), top: 16 },
      dataZoom: slider(),
      xAxis: axis("job", { min: -0.5, max: trials.index.at(-1) + 0.5, splitLine: { show: false }, axisLabel: { color: colour("soft"), hideOverlap: true, showMinLabel: false, showMaxLabel: false } }),
      yAxis: axis("stuck counter", { minInterval: 1, min: 0 }),
      series: [{
        type: "line", step: "end", data: rows.map(at), showSymbol: false, silent: true, sampling: "minmax",
        lineStyle: { color: colour("accent"), width: 1.5 }, areaStyle: { color: colour("accent"), opacity: 0.15 },
        markLine: {
          silent: true, symbol: "none", lineStyle: { color: colour("bad"), type: "dashed" },
          label: { show: limits.length < 12, formatter: "stuck", color: colour("bad"), position: "insideEndTop" },
          data: limits.map((span) => [
            { coord: [span.first - 0.5, data.stuck[span.phase]] },
            { coord: [span.last + 0.5, data.stuck[span.phase]] },
          ]),
        },
      }],
    }),
  });
}

// What each worker did when.
if (byId("chart-timeline")) {
  const attempts = data.attempts;
  const everyAttempt = attempts.job.map((_, row) => row);
  const lane = new Map(data.workers.map((name, number) => [name, number]));
  const hues = { completed: "dot", running: "good", failed: "bad", lost: "warn", rejected: "bad" };
  const symbols = { completed: "rect", running: "roundRect", failed: "diamond", lost: "triangle", rejected: "diamond" };
  const place = byId("chart-timeline");
  place.style.height = `${Math.max(170, Math.min(1200, 100 + 24 * data.workers.length))}px`;
  const outcomes = attempts.outcome.names;
  new Chart("timeline", {
    points: () => everyAttempt.map((row) => ({ x: 1000 * attempts.start[row], end: 1000 * attempts.end[row], y: lane.get(text(attempts.worker, row)), row })),
    find: (points, x, y, toPixels) => {
      const half = 12;
      return points.findIndex((point) => {
        const [left, middle] = toPixels(point);
        return Math.abs(middle - y) < half && left <= x + 1 && x - 1 <= toPixels({ x: point.end, y: point.y })[0];
      });
    },
    describe: (row) => [
      `#${attempts.job[row]} ${text(attempts.role, row)} · ${text(attempts.outcome, row)}`,
      [
        ["worker", text(attempts.worker, row)],
        ["attempt", attempts.attempt[row] + 1],
        ["from", moment(attempts.start[row])],
        ["for", duration(attempts.end[row] - attempts.start[row])],
        ["why", text(attempts.reason, row).slice(0, 160)],
      ],
    ],
    choose: (row) => rowOf.has(attempts.job[row]) && openDetails(rowOf.get(attempts.job[row])),
    build: () => ({
      useUTC: true,
      legend: { ...legend(outcomes.map((name) => ({ name, icon: symbols[name] }))) },
      grid: { ...grid(58), left: 90 },
      dataZoom: slider(),
      xAxis: axis("time, UTC", { type: "time", splitLine: { show: false }, nameGap: 26 }),
      yAxis: axis("", { type: "category", data: data.workers, inverse: true, splitLine: { show: false },
        axisLabel: { color: colour("soft"), width: 76, overflow: "truncate" } }),
      series: outcomes.map((name, number) => ({
        type: "custom", name, silent: true, clip: true, progressive: 3000, itemStyle: { color: colour(hues[name] || "muted") },
        encode: { x: [0, 1], y: 2 },
        data: everyAttempt.filter((row) => attempts.outcome.codes[row] === number)
          .map((row) => [1000 * attempts.start[row], 1000 * attempts.end[row], lane.get(text(attempts.worker, row))]),
        renderItem: (params, api) => {
          const [left, middle] = api.coord([api.value(0), api.value(2)]);
          const right = api.coord([api.value(1), api.value(2)])[0];
          const height = Math.min(18, 0.7 * api.size([0, 1])[1]);
          return { type: "rect", silent: true, shape: { x: left, y: middle - height / 2, width: Math.max(1, right - left - 0.5), height },
            style: { fill: api.visual("color") } };
        },
      })).concat({
        type: "line", silent: true, data: [],
        markLine: {
          silent: true, symbol: "none", label: { show: false }, lineStyle: { color: colour("text"), type: "dotted" },
          data: data.lives.length < 2 ? [] : data.lives.map((life) => ({ xAxis: 1000 * life.begun })),
        },
      }),
    }),
  });
}

document.body.dataset.ready = performance.now().toFixed(0);
