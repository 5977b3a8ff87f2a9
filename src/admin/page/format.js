// Owns how numbers read: the same units and rounding as the command line's tables.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/** `1.5 MiB`, rounded down to one decimal. */
export function bytes(number) {
  let unit = 0;
  let value = number;
  while (value >= 1024 && unit < UNITS.length - 1) { value /= 1024; unit += 1; }
  value = unit === 0 ? Math.floor(value) : Math.floor(value * 10) / 10;
  return `${value} ${UNITS[unit]}`;
}

/** `28.6 / 55.3 MiB`: the unit once, if it is the same. */
export function bytesOf(part, whole) {
  const [first, unit] = bytes(part).split(" ");
  const second = bytes(whole);
  return second.endsWith(` ${unit}`) ? `${first} / ${second}` : `${first} ${unit} / ${second}`;
}

// Made once: it takes longer to make than to use.
const WHOLE = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** `1,204` */
export function count(number) { return WHOLE.format(number); }

/** `1 file`, `3 files` */
export function files(number) { return number === 1 ? "1 file" : `${count(number)} files`; }

/** `1 server`, `3 servers` */
export function servers(number) { return number === 1 ? "1 server" : `${count(number)} servers`; }

/** `0.4` below ten, `128` above. */
export function rate(number) { return number > 0 && number < 9.95 ? number.toFixed(1) : count(number); }

/** `49.8 %` */
export function percent(share) { return `${(share * 100).toFixed(1)} %`; }

/** The two largest units at most, rounded down: `20 ms`, `1.5 s`, `2 m 10 s`, `3 d 4 h`. */
export function duration(seconds) {
  const whole = Math.floor(seconds);
  if (seconds < 1) return milliseconds(seconds * 1000);
  if (whole < 60) return `${whole < 10 ? Math.floor(seconds * 10) / 10 : whole} s`;
  if (whole < 3600) return two(whole / 60, "m", whole % 60, "s");
  if (whole < 86400) return two(whole / 3600, "h", (whole % 3600) / 60, "m");
  return two(whole / 86400, "d", (whole % 86400) / 3600, "h");
}

/** `0.35 ms`, `4.2 ms`, `180 ms`, and from a second on as `duration`. */
export function milliseconds(number) {
  if (number >= 1000) return duration(number / 1000);
  if (number >= 10) return `${Math.floor(number)} ms`;
  return `${Number(number.toFixed(number < 1 ? 2 : 1))} ms`;
}

function two(first, unit, second, smaller) {
  const rest = Math.floor(second);
  return `${Math.floor(first)} ${unit}${rest > 0 ? ` ${rest} ${smaller}` : ""}`;
}

/** The time of the day, with the date in front unless it is today. */
export function time(ms) {
  const at = new Date(ms);
  const day = at.toDateString() === new Date().toDateString() ? "" : `${date(at)} `;
  return day + clock(at);
}

/** Date and time to the millisecond. */
export function moment(ms) {
  const at = new Date(ms);
  return `${date(at)} ${clock(at)}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

function date(at) { return [at.getFullYear(), at.getMonth() + 1, at.getDate()].map(pad).join("-"); }
function clock(at) { return [at.getHours(), at.getMinutes(), at.getSeconds()].map(pad).join(":"); }
function pad(number) { return String(number).padStart(2, "0"); }
