// Shows the HTML that poise made, and lets a timeline follow the player that stands in the container "player".

const PLAYER = ".st-key-player video, .st-key-player audio";

function follow(figure) {
  const length = Number(figure.dataset.length);
  const told = figure.querySelector(".told");
  const playhead = figure.querySelector(".playhead");
  const clips = [...figure.querySelectorAll(".clip")];
  const hint = told.textContent;
  let chosen = null;
  let until = null;
  let frame = 0;
  const ending = new AbortController();
  const on = (clip, name, act) => clip.addEventListener(name, act, { signal: ending.signal });

  const player = () => document.querySelector(PLAYER);
  const tell = (clip) => {
    told.textContent = clip ? clip.dataset.words : hint;
    told.classList.toggle("chosen", Boolean(clip));
  };
  const choose = (clip) => {
    chosen = clip;
    for (const one of clips) one.classList.toggle("chosen", one === clip);
    tell(clip);
  };
  const play = (clip) => {
    choose(clip);
    const media = player();
    if (!media) return;
    media.currentTime = Number(clip.dataset.start);
    until = Number(clip.dataset.end);
    media.play().catch(() => {});
  };
  for (const clip of clips) {
    on(clip, "click", () => play(clip));
    for (const name of ["mouseenter", "focus"]) on(clip, name, () => tell(clip));
    for (const name of ["mouseleave", "blur"]) on(clip, name, () => tell(chosen));
  }
  const move = () => {
    const media = player();
    if (media && Number.isFinite(media.currentTime)) {
      const now = media.currentTime;
      if (until !== null && !media.paused && now >= until) {
        media.pause();
        until = null;
      }
      if (until !== null && !media.seeking && now < Number(chosen.dataset.start) - 0.5) until = null; // wound back
      playhead.hidden = now === 0 && media.paused;
      playhead.style.left = `${Math.min(100, (100 * now) / length)}%`;
      for (const clip of clips) {
        const inside = !media.paused && now >= Number(clip.dataset.start) && now < Number(clip.dataset.end);
        clip.classList.toggle("playing", inside);
      }
    } else {
      playhead.hidden = true;
    }
    frame = requestAnimationFrame(move);
  };
  move();
  return () => {
    ending.abort();
    cancelAnimationFrame(frame);
  };
}

export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".drawing");
  if (root.shown !== data.html) {
    root.shown = data.html;
    root.innerHTML = data.html; // made by poise, everything foreign in it is escaped
    root.stop?.();
    root.stop = undefined;
  }
  const figure = root.querySelector(".timeline");
  if (figure && !root.stop) root.stop = follow(figure);
  return () => {
    root.stop?.();
    root.stop = undefined;
  };
}
