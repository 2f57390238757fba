//! A plot area in SVG: scales, axes, and marks given in data units. It knows nothing of what is plotted; colours come from
//! the page's style sheet by class.

/// Space around the area for labels, in pixels: left, right, bottom.
const MARGINS: (f64, f64, f64) = (54.0, 22.0, 44.0);

/// The width of a letter of a label, in pixels, generously.
pub(super) const LETTER_WIDTH: f64 = 6.6;

/// The outer size of a plot in pixels, and what it leaves free above its area.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) top: f64,
}

/// One axis: its range in data units, whether it is logarithmic, and how its values are written.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) logarithmic: bool,
    pub(super) title: &'static str,
    pub(super) label: fn(f64) -> String,
}

impl Axis {
    /// Where a value is: 0 at the start, 1 at the end, and never beyond.
    fn place(&self, value: f64) -> f64 {
        let place = if self.logarithmic {
            let (from, to) = (libm::log10(self.from), libm::log10(self.to));
            (libm::log10(value.max(self.from)) - from) / (to - from)
        } else {
            (value - self.from) / (self.to - self.from)
        };
        place.clamp(0.0, 1.0)
    }

    /// Round values along the axis, at most about `count`.
    fn ticks(&self, count: f64) -> Vec<f64> {
        if self.logarithmic {
            return self.logarithmic_ticks(count);
        }
        let step = round_step((self.to - self.from) / count.max(1.0));
        let first = libm::ceil(self.from / step - 1e-9);
        let ticks = (0..TICKS_MAX).map(|at| (first + f64::from(at)) * step);
        ticks.take_while(|tick| *tick <= self.to + step * 1e-6).collect()
    }

    fn logarithmic_ticks(&self, count: f64) -> Vec<f64> {
        let decades = libm::log10(self.to / self.from);
        let every = libm::ceil(decades / count.max(1.0)).max(1.0);
        let steps: &[f64] = if decades * 3.0 <= count { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let first = libm::floor(libm::log10(self.from));
        let powers = (0..TICKS_MAX).map(|at| libm::pow(10.0, first + f64::from(at) * every));
        let ticks = powers.flat_map(|power| steps.iter().map(move |step| step * power));
        let on_axis = |tick: &f64| *tick >= self.from * 0.999 && *tick <= self.to * 1.001;
        ticks.take_while(|tick| *tick <= self.to * 1.001).filter(on_axis).collect()
    }
}

/// No axis has more ticks than this.
const TICKS_MAX: u32 = 40;

/// The smallest of 1, 2 and 5 times a power of ten that is not below `least`.
pub(super) fn round_step(least: f64) -> f64 {
    let power = libm::pow(10.0, libm::floor(libm::log10(least)));
    let steps = [1.0, 2.0, 5.0].map(|step| step * power);
    steps.into_iter().find(|step| *step >= least * 0.999_999).unwrap_or(10.0 * power)
}

/// An SVG being drawn.
#[derive(Debug)]
pub(super) struct Plot {
    size: Size,
    x: Axis,
    y: Axis,
    marks: String,
}

impl Plot {
    pub(super) fn new(size: Size, x: Axis, y: Axis) -> Self {
        Self { size, x, y, marks: String::new() }
    }

    pub(super) fn x(&self, value: f64) -> f64 {
        let (left, right, _) = MARGINS;
        left + self.x.place(value) * (self.size.width - left - right)
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        let (_, _, bottom) = MARGINS;
        let height = self.size.height - self.size.top - bottom;
        self.size.top + (1.0 - self.y.place(value)) * height
    }

    /// A filled span of the x axis, as high as the area.
    pub(super) fn span(&mut self, from: f64, to: f64, class: &str) {
        let (left, right) = (self.x(from), self.x(to));
        let (top, bottom) = (self.size.top, self.y(self.y.from));
        self.marks += &format!(
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>\n",
            right - left,
            bottom - top
        );
    }

    /// A line across the area at a place of the x axis.
    pub(super) fn rule(&mut self, at: f64, class: &str) {
        self.line(&[(at, self.y.from), (at, self.y.to)], class);
    }

    /// A filled bar from the foot of the area, between two pixels of the x axis.
    pub(super) fn bar(&mut self, (left, right): (f64, f64), value: f64, class: &str) {
        let (top, foot) = (self.y(value), self.y(self.y.from));
        self.marks += &format!(
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>\n",
            right - left,
            foot - top
        );
    }

    /// A line through points in data units.
    pub(super) fn line(&mut self, points: &[(f64, f64)], class: &str) {
        let path = self.path(points);
        self.marks += &format!("<polyline class=\"{class}\" points=\"{path}\"/>\n");
    }

    /// A filled area with this outline, in data units.
    pub(super) fn area(&mut self, outline: &[(f64, f64)], class: &str) {
        let path = self.path(outline);
        self.marks += &format!("<polygon class=\"{class}\" points=\"{path}\"/>\n");
    }

    pub(super) fn dot(&mut self, (x, y): (f64, f64), class: &str) {
        self.marks +=
            &format!("<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>\n", self.x(x), self.y(y));
    }

    /// Text at a place in pixels, centred unless the class says otherwise. The text is trusted: escape what is not.
    pub(super) fn text(&mut self, (x, y): (f64, f64), class: &str, text: &str) {
        self.marks += &format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>\n");
    }

    /// The finished drawing: grid below, marks, axes above. `class` says when the page shows it.
    pub(super) fn finish(self, class: &str, described: &str) -> String {
        let Size { width, height, .. } = self.size;
        format!(
            "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{described}\">\n\
             {}{}{}</svg>\n",
            self.grid(),
            self.marks,
            self.titles(),
        )
    }

    fn path(&self, points: &[(f64, f64)]) -> String {
        let places = points.iter().map(|&(x, y)| format!("{:.1},{:.1}", self.x(x), self.y(y)));
        places.collect::<Vec<_>>().join(" ")
    }

    fn grid(&self) -> String {
        let mut grid = String::new();
        let (left, right) = (self.x(self.x.from), self.x(self.x.to));
        let (top, foot) = (self.size.top, self.y(self.y.from));
        for tick in self.y.ticks((foot - top) / 38.0) {
            let (y, label) = (self.y(tick), (self.y.label)(tick));
            grid += &format!("<path class=\"grid\" d=\"M{left:.1} {y:.1}H{right:.1}\"/>\n");
            grid += &format!(
                "<text class=\"tick end\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>\n",
                left - 7.0,
                y + 4.0
            );
        }
        for tick in self.x.ticks((right - left) / 62.0) {
            let (x, label) = (self.x(tick), (self.x.label)(tick));
            grid += &format!("<path class=\"axis\" d=\"M{x:.1} {foot:.1}v4\"/>\n");
            grid += &format!("<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\">{label}</text>\n", foot + 17.0);
        }
        grid
    }

    fn titles(&self) -> String {
        let (left, right) = (self.x(self.x.from), self.x(self.x.to));
        let (top, foot) = (self.size.top, self.y(self.y.from));
        let middle = f64::midpoint(top, foot);
        format!(
            "<path class=\"axis\" d=\"M{left:.1} {foot:.1}H{right:.1}\"/>\n\
             <text class=\"title\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n\
             <text class=\"title\" transform=\"translate(12 {middle:.1}) rotate(-90)\">{}</text>\n",
            f64::midpoint(left, right),
            foot + 36.0,
            self.x.title,
            self.y.title,
        )
    }
}
