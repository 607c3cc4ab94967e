// Runs beside each other: a thin line for each, a thick one with its band for each group of seeds.
"use strict";

const hueOf = (group) => `group-${group % data.hues}`;
const groupOf = new Map(data.groups.flatMap((group, number) => group.curves.map((curve) => [curve, number])));

/** A step function's corners, up to where it ends. */
const line = (x, y) => x.map((at, n) => [at, 100 * y[n]]);

/** A band as one polygon between two step functions: lines stacked on each other would add up their x, too. */
const around = (band, name, hue) => {
  const rows = band.x.map((x, n) => [x, 100 * (band.mean[n] - band.deviation[n]), 100 * (band.mean[n] + band.deviation[n])]);
  const steps = (column) => rows.flatMap((row, n) => [[row[0], row[column]], ...(n + 1 < rows.length ? [[rows[n + 1][0], row[column]]] : [])]);
  const corners = [...steps(1), ...steps(2).reverse()];
  return {
    type: "custom", name, silent: true, clip: true, z: 1, encode: { x: 0, y: [1, 2] }, data: rows,
    renderItem: (params, api) => params.dataIndex === 0
      ? { type: "polygon", silent: true, shape: { points: corners.map((corner) => api.coord(corner)) }, style: { fill: hue, opacity: 0.22 } }
      : null,
  };
};

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
          series.push(around(band, `band ${number}`, hue));
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
