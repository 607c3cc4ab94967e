// Runs beside each other: a thin line for each, a thick one with its band for each group of seeds.
"use strict";

const hueOf = (group) => `group-${group % data.hues}`;
const groupOf = new Map(data.groups.flatMap((group, number) => group.curves.map((curve) => [curve, number])));

/** A step function's corners, up to where it ends. */
const line = (x, y) => x.map((at, n) => [at, 100 * y[n]]);

for (const by of ["candidates", "hours"]) {
  const axisName = by === "hours" ? data.hourName : "candidates";
  new Chart(by, {
    points: () => data.curves.flatMap((curve, row) => curve[by].map((x, corner) => ({ x, y: 100 * curve.score[corner], row: [row, corner] }))),
    describe: ([row, corner]) => {
      const curve = data.curves[row];
      return [curve.name, [
        [data.metric, percent(curve.score[corner])],
        ["candidates", count(curve.candidates[corner])],
        [data.hourName, curve.hours[corner].toFixed(1)],
        ["group", data.groups[groupOf.get(row)].name],
        ["seed", curve.seed],
      ]];
    },
    build: () => {
      const series = [];
      data.groups.forEach((group, number) => {
        const hue = colour(hueOf(number));
        const band = group[by];
        if (band.x.length && group.curves.length > 1) {
          const low = band.mean.map((mean, n) => mean - band.deviation[n]);
          const between = { type: "line", step: "end", stack: `band ${number}`, stackStrategy: "all", showSymbol: false, silent: true, lineStyle: { opacity: 0 } };
          series.push({ ...between, name: `low ${number}`, data: line(band.x, low) });
          series.push({ ...between, name: `high ${number}`, data: line(band.x, band.deviation.map((each) => 2 * each)), areaStyle: { color: hue, opacity: 0.22 } });
        }
        for (const row of group.curves) {
          series.push({ type: "line", step: "end", name: `run ${row}`, data: line(data.curves[row][by], data.curves[row].score), showSymbol: false, silent: true,
            lineStyle: { color: hue, width: group.curves.length > 1 ? 1 : 2.5, opacity: group.curves.length > 1 ? 0.55 : 1 }, z: 3 });
        }
        series.push({ type: "line", step: "end", name: group.name, data: line(band.x, band.mean), showSymbol: false, silent: true, z: 4,
          lineStyle: { color: hue, width: 2.5 }, itemStyle: { color: hue } });
      });
      return {
        legend: legend(data.groups.map((group) => ({ name: group.name, icon: LINE }))),
        grid: { left: 56, right: 16, top: 34, bottom: 66 },
        dataZoom: slider(),
        xAxis: axis(axisName, { min: 0, splitLine: { show: false }, axisLabel: { color: colour("soft"), hideOverlap: true } }),
        yAxis: axis(`${data.metric}, %`, { scale: true, nameGap: 36 }),
        series,
      };
    },
  });
}

document.body.dataset.ready = performance.now().toFixed(0);
