"use strict";
// Without this script each box links to its text below the picture; with it the text of one box at a time is shown, and
// what belongs to a box stands out while the pointer or the focus is on it.
document.documentElement.classList.add("scripted");
const picture = document.querySelector(".picture svg");
const nodes = new Map([...picture.querySelectorAll(".node")].map((node) => [node.dataset.node, node]));
const edges = [...picture.querySelectorAll(".edge")];

function light(name) {
  for (const one of picture.querySelectorAll(".near")) one.classList.remove("near");
  picture.classList.toggle("lit", name !== undefined);
  if (name === undefined) return;
  nodes.get(name).classList.add("near");
  for (const edge of edges) {
    if (edge.dataset.from !== name && edge.dataset.to !== name) continue;
    edge.classList.add("near");
    for (const end of [edge.dataset.from, edge.dataset.to]) nodes.get(end)?.classList.add("near");
  }
}

function choose(name) {
  for (const article of document.querySelectorAll("aside article")) {
    article.classList.toggle("open", article.id === `about-${name}`);
  }
  document.querySelector(".hint").classList.toggle("past", nodes.has(name));
  for (const [other, node] of nodes) {
    node.classList.toggle("chosen", other === name);
    if (other === name) node.setAttribute("aria-current", "true");
    else node.removeAttribute("aria-current");
  }
}

const chosen = () => decodeURIComponent(location.hash).replace("#about-", "");

// The address names the box, so that a link to it can be given away; the page does not jump.
function go(name) {
  choose(name);
  try {
    history.replaceState(null, "", name ? `#about-${name}` : "#");
  } catch {
    // In a frame of a notebook the page has no address of its own.
  }
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#about-']");
  if (link === null || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  go(link.getAttribute("href").replace("#about-", ""));
});

for (const [name, node] of nodes) {
  node.addEventListener("pointerenter", () => light(name));
  node.addEventListener("pointerleave", () => light());
  node.addEventListener("focus", () => light(name));
  node.addEventListener("blur", () => light());
}
addEventListener("hashchange", () => choose(chosen()));
addEventListener("keydown", (event) => {
  const node = picture.querySelector(".chosen");
  if (event.key !== "Escape" || node === null) return;
  go("");
  node.focus();
});
choose(chosen());
