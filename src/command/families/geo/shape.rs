//! What is searched: a circle or a box around a place, which cells of the grid cover it, and
//! distances on a globe of the Earth's mean radius (the haversine formula).
//!
//! The order of every floating-point operation is Redis's, so that what lies on the edge lies on
//! the same side.

use super::cell::{Area, Cell, MAX_STEP, Place};

const EARTH_RADIUS_M: f64 = 6_372_797.560_856;
/// Half the width of the Mercator map, metres.
const MERCATOR_MAX_M: f64 = 20_037_726.37;

/// Metres between two places.
pub fn distance_m(a: Place, b: Place) -> f64 {
    let across = ((b.lon.to_radians_as_c() - a.lon.to_radians_as_c()) / 2.0).sin();
    if across == 0.0 {
        return lat_distance_m(a.lat, b.lat);
    }
    let (a_lat, b_lat) = (a.lat.to_radians_as_c(), b.lat.to_radians_as_c());
    let along = ((b_lat - a_lat) / 2.0).sin();
    let h = along * along + a_lat.cos() * b_lat.cos() * across * across;
    2.0 * EARTH_RADIUS_M * h.sqrt().asin()
}

fn lat_distance_m(a: f64, b: f64) -> f64 {
    EARTH_RADIUS_M * (b.to_radians_as_c() - a.to_radians_as_c()).abs()
}

trait Degrees {
    fn to_radians_as_c(self) -> f64;
    fn to_degrees_as_c(self) -> f64;
}

impl Degrees for f64 {
    fn to_radians_as_c(self) -> f64 {
        self * (std::f64::consts::PI / 180.0)
    }

    fn to_degrees_as_c(self) -> f64 {
        self / (std::f64::consts::PI / 180.0)
    }
}

/// How far a shape reaches from its middle, in the unit of the request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Extent {
    /// A circle.
    Radius(f64),
    /// A box along the axes.
    Box {
        /// From west to east.
        width: f64,
        /// From south to north.
        height: f64,
    },
}

/// What is searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Its middle.
    pub center: Place,
    /// How far it reaches.
    pub extent: Extent,
    /// Metres that its unit has.
    pub unit_m: f64,
}

impl Shape {
    /// Metres from the middle to a place, if that lies inside.
    pub fn distance_inside(&self, place: Place) -> Option<f64> {
        match self.extent {
            Extent::Radius(radius) => {
                let distance = distance_m(self.center, place);
                (distance <= radius * self.unit_m).then_some(distance)
            }
            Extent::Box { width, height } => {
                if lat_distance_m(place.lat, self.center.lat) > height * self.unit_m / 2.0 {
                    return None;
                }
                let beside = Place {
                    lon: self.center.lon,
                    lat: place.lat,
                };
                if distance_m(place, beside) > width * self.unit_m / 2.0 {
                    return None;
                }
                Some(distance_m(self.center, place))
            }
        }
    }

    fn bounds(&self) -> Area {
        let (width, height) = match self.extent {
            Extent::Radius(radius) => (radius, radius),
            Extent::Box { width, height } => (width / 2.0, height / 2.0),
        };
        let (width_m, height_m) = (self.unit_m * width, self.unit_m * height);
        let Place { lon, lat } = self.center;
        let lat_delta = (height_m / EARTH_RADIUS_M).to_degrees_as_c();
        // A degree of longitude is shorter towards the pole: the side that lies nearer to it
        // reaches over more of them.
        let far = if lat < 0.0 {
            lat - lat_delta
        } else {
            lat + lat_delta
        };
        let lon_delta = (width_m / EARTH_RADIUS_M / far.to_radians_as_c().cos()).to_degrees_as_c();
        Area {
            west: lon - lon_delta,
            east: lon + lon_delta,
            south: lat - lat_delta,
            north: lat + lat_delta,
        }
    }

    /// Metres from the middle to the farthest point.
    fn reach_m(&self) -> f64 {
        let reach = match self.extent {
            Extent::Radius(radius) => radius,
            Extent::Box { width, height } => {
                ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
            }
        };
        reach * self.unit_m
    }

    /// The finest grid of which a cell and its eight neighbours usually cover the shape.
    fn step(&self) -> u32 {
        let mut reach_m = self.reach_m();
        if reach_m == 0.0 {
            return MAX_STEP;
        }
        let mut step = 1i32;
        while reach_m < MERCATOR_MAX_M {
            reach_m *= 2.0;
            step += 1;
        }
        step -= 2;
        // Cells are narrower towards the poles.
        let lat = self.center.lat.abs();
        step -= i32::from(lat > 66.0) + i32::from(lat > 80.0);
        u32::try_from(step).unwrap_or(1).clamp(1, MAX_STEP)
    }

    /// Cells that cover the shape, in the order in which Redis looks through them. One may come
    /// twice in a very coarse grid, as it does there.
    pub fn cells(&self) -> Vec<Cell> {
        let bounds = self.bounds();
        let mut step = self.step();
        let mut middle = self.center.cell(step);
        let too_fine = middle.neighbour(0, 1).area().north < bounds.north
            || middle.neighbour(0, -1).area().south > bounds.south
            || middle.neighbour(1, 0).area().east < bounds.east
            || middle.neighbour(-1, 0).area().west > bounds.west;
        if step > 1 && too_fine {
            step -= 1;
            middle = self.center.cell(step);
        }
        let area = middle.area();
        // A neighbour is of no use if the middle reaches beyond the shape on its side.
        let useless = |east: i32, north: i32| {
            step >= 2
                && (north < 0 && area.south < bounds.south
                    || north > 0 && area.north > bounds.north
                    || east < 0 && area.west < bounds.west
                    || east > 0 && area.east > bounds.east)
        };
        let mut cells = vec![middle];
        let mut last = None;
        for (east, north) in [
            (0, 1),
            (0, -1),
            (1, 0),
            (-1, 0),
            (1, 1),
            (-1, 1),
            (1, -1),
            (-1, -1),
        ] {
            let cell = middle.neighbour(east, north);
            if !useless(east, north) && last != Some(cell) {
                cells.push(cell);
                last = Some(cell);
            }
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_known_distance_is_the_one_that_redis_tells() {
        let of = |score: f64| Place::of_score(score);
        let metres = distance_m(of(3479099956230698.0), of(3479447370796909.0));
        assert_eq!(format!("{metres:.4}"), "166274.1516");
    }

    proptest! {
        /// Whatever lies inside lies in one of the cells.
        #[test]
        fn the_cells_cover_the_shape(
            lon in -170.0..170.0, lat in -60.0..60.0, reach in 1.0..300_000.0,
            east in -1.0..1.0, north in -1.0..1.0, is_box: bool
        ) {
            let center = Place { lon, lat };
            let extent = if is_box {
                Extent::Box { width: reach, height: reach / 2.0 }
            } else {
                Extent::Radius(reach)
            };
            let shape = Shape { center, extent, unit_m: 1.0 };
            let bounds = shape.bounds();
            let place = Place {
                lon: lon + east * (bounds.east - lon),
                lat: lat + north * (bounds.north - lat),
            };
            if shape.distance_inside(place).is_some() {
                let score = place.score();
                prop_assert!(shape
                    .cells()
                    .iter()
                    .any(|cell| (cell.first_score()..cell.end_score()).contains(&score)));
            }
        }
    }
}
