"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const tip = document.getElementById("tip");
  const panel = document.getElementById("selected");
  const marks = new Map();
  for (const mark of document.querySelectorAll("circle[data-trial], tr[data-trial]")) {
    const id = mark.dataset.trial;
    if (!marks.has(id)) marks.set(id, []);
    marks.get(id).push(mark);
    const title = mark.querySelector("title");
    if (title && data[id]) {
      mark.dataset.tip = title.textContent; // of this mark alone; shown at once, in the page's tip
      title.remove();
    }
  }

  const made = (name, text, ...children) => {
    const element = document.createElement(name);
    element.textContent = text;
    element.append(...children);
    return element;
  };

  const flag = (id, name, on) => {
    for (const mark of marks.get(id) || []) mark.classList.toggle(name, on);
  };

  const list = (title, values) => {
    const rows = Object.entries(values).flatMap(([key, value]) => [
      made("dt", key),
      made("dd", String(value)),
    ]);
    return made("div", "", made("strong", title), made("dl", "", ...rows));
  };

  let chosen = null;
  const choose = (id) => {
    if (chosen !== null) flag(chosen, "chosen", false);
    chosen = id === chosen || !data[id] ? null : id;
    panel.hidden = chosen === null;
    if (chosen === null) return;
    flag(chosen, "chosen", true);
    const trial = data[chosen];
    const close = made("button", "Close");
    close.type = "button";
    close.addEventListener("click", () => choose(chosen));
    const head = made("div", "", made("h2", `${chosen}: rank ${trial.rank}, score ${trial.score}`));
    head.append(close);
    head.className = "row";
    const state = [
      trial.front ? "on the Pareto front" : "not on the Pareto front",
      `${trial.steps} steps`,
      trial.time,
      trial.reason,
    ];
    const lists = made("div", "", list("parameters", trial.params), list("metrics", trial.metrics));
    lists.className = "lists";
    panel.replaceChildren(head, made("p", state.filter(Boolean).join(" · ")), lists);
    panel.scrollTop = 0;
  };

  const trialAt = (event) => {
    const mark = event.target.closest("circle[data-trial], tr[data-trial], .pick");
    return mark ? mark.dataset.trial : null;
  };

  let near = null;
  const hover = (event) => {
    const id = trialAt(event);
    if (id !== near) {
      if (near !== null) flag(near, "near", false);
      near = id;
      if (near !== null) flag(near, "near", true);
      document.body.classList.toggle("dim", near !== null);
    }
    const mark = near !== null && event.target.closest("circle");
    const trial = mark && data[near];
    tip.hidden = !trial;
    if (!trial) return;
    const own = mark.dataset.tip || `${near}: rank ${trial.rank}, score ${trial.score}`;
    tip.textContent = `${own}\n${trial.brief}`;
    const box = tip.getBoundingClientRect();
    const right = window.innerWidth - box.width - 8;
    tip.style.left = `${Math.max(8, Math.min(event.clientX + 14, right))}px`;
    const below = event.clientY + 18;
    const fits = below + box.height < window.innerHeight;
    tip.style.top = `${fits ? below : event.clientY - box.height - 12}px`;
  };
  document.addEventListener("pointermove", hover);
  document.addEventListener("pointerleave", () => { tip.hidden = true; });

  document.addEventListener("click", (event) => {
    const id = trialAt(event);
    if (id !== null) choose(id);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && chosen !== null) choose(chosen);
  });

  const more = document.getElementById("more");
  if (more) {
    more.addEventListener("click", () => {
      document.querySelector(".ranking").classList.add("all");
      more.remove();
    });
  }

  for (const input of document.querySelectorAll("input[name=target]")) {
    input.addEventListener("change", () => {
      for (const group of document.querySelectorAll("[data-target]")) {
        group.hidden = group.dataset.target !== input.value;
      }
    });
  }

  // A sound that several players have is in the page once.
  for (const player of document.querySelectorAll("audio[data-same]")) {
    player.preload = "metadata";
    player.src = document.getElementById(player.dataset.same).src;
  }

  const valueOf = (row, column) => row.cells[column].dataset.value || "";
  for (const button of document.querySelectorAll(".ranking th button")) {
    let up = false;
    button.addEventListener("click", () => {
      const column = button.parentElement.cellIndex;
      const body = document.querySelector(".ranking tbody");
      up = !up;
      const rows = [...body.rows].sort((a, b) => {
        const [first, second] = [valueOf(a, column), valueOf(b, column)];
        const order = Number(first) - Number(second) || first.localeCompare(second);
        return up ? order : -order;
      });
      body.append(...rows);
      document.querySelector(".ranking").classList.add("all");
      if (more) more.remove();
    });
  }
})();
