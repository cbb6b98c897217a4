"use strict";
// Zoom and move one image: keys, wheel, buttons, drag, two fingers.
class Zoom {
  static MOST = 12;

  constructor(stage, image) {
    this.stage = stage;
    this.image = image;
    this.fingers = new Map();
    this.fit();
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.by(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), event.clientX, event.clientY);
    }, { passive: false });
    stage.addEventListener("dblclick", (event) => this.scale > 1 ? this.fit() : this.by(3, event.clientX, event.clientY));
    stage.addEventListener("pointerdown", (event) => {
      this.fingers.set(event.pointerId, event);
      stage.setPointerCapture(event.pointerId);
    });
    stage.addEventListener("pointermove", (event) => this.moved(event));
    for (const end of ["pointerup", "pointercancel"]) {
      stage.addEventListener(end, (event) => this.fingers.delete(event.pointerId));
    }
  }

  fit() {
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.show();
  }

  // Zoom by a factor; the point (clientX, clientY), by default the middle, stays where it is.
  by(factor, clientX, clientY) {
    const box = this.stage.getBoundingClientRect();
    const fromX = (clientX ?? box.left + box.width / 2) - (box.left + box.width / 2);
    const fromY = (clientY ?? box.top + box.height / 2) - (box.top + box.height / 2);
    const scale = Math.min(Zoom.MOST, Math.max(1, this.scale * factor));
    this.x = fromX - (fromX - this.x) * scale / this.scale;
    this.y = fromY - (fromY - this.y) * scale / this.scale;
    this.scale = scale;
    this.show();
  }

  move(x, y) {
    this.x += x;
    this.y += y;
    this.show();
  }

  moved(event) {
    const before = this.fingers.get(event.pointerId);
    if (!before) return;
    const other = [...this.fingers.values()].find((finger) => finger.pointerId !== event.pointerId);
    this.fingers.set(event.pointerId, event);
    if (other) {
      const apart = (a) => Math.hypot(a.clientX - other.clientX, a.clientY - other.clientY) || 1;
      this.by(apart(event) / apart(before), (event.clientX + other.clientX) / 2, (event.clientY + other.clientY) / 2);
    } else if (this.scale > 1) {
      this.move(event.clientX - before.clientX, event.clientY - before.clientY);
    }
  }

  // The image never leaves the stage; at scale 1 a finger scrolls the page.
  show() {
    const reachX = this.stage.clientWidth * (this.scale - 1) / 2;
    const reachY = this.stage.clientHeight * (this.scale - 1) / 2;
    this.x = Math.min(reachX, Math.max(-reachX, this.x));
    this.y = Math.min(reachY, Math.max(-reachY, this.y));
    this.image.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    this.stage.style.touchAction = this.scale > 1 ? "none" : "pan-y";
    this.stage.dataset.scale = this.scale.toFixed(2);
  }
}
