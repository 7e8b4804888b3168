//! The grid that places are kept in: how a place becomes a score of a sorted set, and back.
//!
//! The globe is cut in two along either axis, 26 times at most, so that a place is a number of 52
//! bits, which a double holds exactly. The bits of both axes take turns, longitude first:
//!
//! ```text
//!   score  51 50 49 48 ...  1  0
//!          x  y  x  y       x  y     x: longitude, y: latitude
//! ```
//!
//! So every cell of a coarser grid is a range of scores. Latitudes end where the square Mercator
//! map does (EPSG:3857), as in Redis.

/// Cuts along either axis that a score tells.
pub const MAX_STEP: u32 = 26;
/// The greatest longitude, degrees.
pub const LON_MAX: f64 = 180.0;
/// The greatest latitude, degrees.
pub const LAT_MAX: f64 = 85.051_128_78;

/// A place, degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Longitude.
    pub lon: f64,
    /// Latitude.
    pub lat: f64,
}

/// A rectangle of the grid of some step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    x: u32,
    y: u32,
    step: u32,
}

/// Degrees from one side of a cell to the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    /// Western side.
    pub west: f64,
    /// Eastern side.
    pub east: f64,
    /// Southern side.
    pub south: f64,
    /// Northern side.
    pub north: f64,
}

impl Place {
    /// Whether the grid covers it.
    pub fn is_valid(self) -> bool {
        (-LON_MAX..=LON_MAX).contains(&self.lon) && (-LAT_MAX..=LAT_MAX).contains(&self.lat)
    }

    /// The score that stands for it, an integer.
    pub fn score(self) -> u64 {
        self.cell(MAX_STEP).first_score()
    }

    /// The place that a score stands for: the middle of its cell.
    pub fn of_score(score: f64) -> Place {
        let (y, x) = deinterleave(score_bits(score));
        let area = Cell {
            x,
            y,
            step: MAX_STEP,
        }
        .area();
        Place {
            lon: f64::midpoint(area.west, area.east).clamp(-LON_MAX, LON_MAX),
            lat: f64::midpoint(area.south, area.north).clamp(-LAT_MAX, LAT_MAX),
        }
    }

    /// The cell it lies in.
    pub fn cell(self, step: u32) -> Cell {
        Cell {
            x: index(self.lon, LON_MAX, step),
            y: index(self.lat, LAT_MAX, step),
            step,
        }
    }

    /// The 11 characters of the usual geohash, whose latitudes go up to the poles. The last one
    /// would need more bits than there are and is always `0`.
    pub fn geohash(self) -> [u8; 11] {
        const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let (x, y) = (
            index(self.lon, LON_MAX, MAX_STEP),
            index(self.lat, 90.0, MAX_STEP),
        );
        let bits = interleave(y, x);
        let mut text = [b'0'; 11];
        for (at, letter) in text.iter_mut().take(10).enumerate() {
            let five = (bits >> (52 - (at + 1) * 5)) & 31;
            *letter = ALPHABET.get(five as usize).copied().unwrap_or(b'0');
        }
        text
    }
}

impl Cell {
    /// The cell so many columns to the east and rows to the north. The grid is closed in both
    /// directions.
    pub fn neighbour(self, east: i32, north: i32) -> Cell {
        let wrap = |at: u32, by: i32| match by {
            0 => at,
            _ => at.wrapping_add_signed(by) & ((1 << self.step) - 1),
        };
        Cell {
            x: wrap(self.x, east),
            y: wrap(self.y, north),
            step: self.step,
        }
    }

    /// Where it lies.
    pub fn area(self) -> Area {
        let side = |at: u32, max: f64| {
            let parts = f64::from(at) / (1u64 << self.step) as f64;
            -max + parts * (2.0 * max)
        };
        Area {
            west: side(self.x, LON_MAX),
            east: side(self.x.wrapping_add(1), LON_MAX),
            south: side(self.y, LAT_MAX),
            north: side(self.y.wrapping_add(1), LAT_MAX),
        }
    }

    /// The lowest score of the places in it.
    pub fn first_score(self) -> u64 {
        interleave(self.y, self.x) << (52 - self.step * 2)
    }

    /// The score behind the highest of the places in it.
    pub fn end_score(self) -> u64 {
        (interleave(self.y, self.x) + 1) << (52 - self.step * 2)
    }
}

/// The column or row of a coordinate between `-max` and `max`.
fn index(coordinate: f64, max: f64, step: u32) -> u32 {
    let part = (coordinate - -max) / (2.0 * max);
    (part * (1u64 << step) as f64) as u32
}

/// What C makes of a score that is no place's: any sorted set can be asked for its places.
fn score_bits(score: f64) -> u64 {
    const TOO_LARGE: f64 = 18_446_744_073_709_551_616.0;
    if score < 0.0 {
        score as i64 as u64
    } else if score < TOO_LARGE {
        score as u64
    } else {
        0
    }
}

/// Puts a zero in front of every bit.
fn spread(n: u32) -> u64 {
    let mut n = u64::from(n);
    for (shift, mask) in [
        (16, 0x0000_FFFF_0000_FFFF),
        (8, 0x00FF_00FF_00FF_00FF),
        (4, 0x0F0F_0F0F_0F0F_0F0F),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ] {
        n = (n | n << shift) & mask;
    }
    n
}

/// Takes every second bit, from the lowest on.
fn gather(n: u64) -> u32 {
    let mut n = n & 0x5555_5555_5555_5555;
    for (shift, mask) in [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0F0F_0F0F_0F0F_0F0F),
        (4, 0x00FF_00FF_00FF_00FF),
        (8, 0x0000_FFFF_0000_FFFF),
        (16, 0x0000_0000_FFFF_FFFF),
    ] {
        n = (n | n >> shift) & mask;
    }
    n as u32
}

fn interleave(even: u32, odd: u32) -> u64 {
    spread(even) | spread(odd) << 1
}

fn deinterleave(bits: u64) -> (u32, u32) {
    (gather(bits), gather(bits >> 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_places_have_the_scores_and_names_that_redis_gives_them() {
        let palermo = Place {
            lon: 13.361389,
            lat: 38.115556,
        };
        assert_eq!(palermo.score(), 3479099956230698);
        let kept = Place::of_score(3479099956230698.0);
        assert_eq!(&kept.geohash(), b"sqc8b49rny0");
        assert_eq!((kept.lon, kept.lat), (13.361389338970184, 38.1155563954963));
    }

    #[test]
    fn the_corners_of_the_map_are_on_the_grid() {
        for (lon, lat) in [(-LON_MAX, -LAT_MAX), (LON_MAX, LAT_MAX)] {
            let kept = Place::of_score(Place { lon, lat }.score() as f64);
            assert!(kept.is_valid());
        }
        for lon in [-180.1, 180.1, f64::NAN, f64::INFINITY] {
            assert!(!Place { lon, lat: 0.0 }.is_valid());
        }
        for score in [-5.0, 1e300, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(Place::of_score(score).is_valid());
        }
    }

    proptest! {
        #[test]
        fn a_place_is_kept_to_half_a_metre(lon in -180.0..180.0, lat in -85.0..85.0) {
            let place = Place { lon, lat };
            let kept = Place::of_score(place.score() as f64);
            prop_assert!((kept.lon - lon).abs() < 3e-6 && (kept.lat - lat).abs() < 2e-6);
        }

        #[test]
        fn bits_that_take_turns_come_apart_again(even: u32, odd: u32) {
            prop_assert_eq!(deinterleave(interleave(even, odd)), (even, odd));
        }

        #[test]
        fn a_cell_is_the_range_of_scores_of_its_places(
            lon in -180.0..180.0, lat in -85.0..85.0, step in 1u32..27
        ) {
            let place = Place { lon, lat };
            let cell = place.cell(step);
            prop_assert!((cell.first_score()..cell.end_score()).contains(&place.score()));
            let Area { west, east, south, north } = cell.area();
            prop_assert!(west - 1e-9 <= lon && lon <= east + 1e-9);
            prop_assert!(south - 1e-9 <= lat && lat <= north + 1e-9);
        }
    }
}
