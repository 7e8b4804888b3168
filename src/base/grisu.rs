//! Doubles as decimal digits that read back as the same double: Florian Loitsch's Grisu2 ("Printing
//! Floating-Point Numbers Quickly and Accurately with Integers", 2010).
//!
//! Nearly always the digits are the fewest and the nearest that do. Rarely there is one digit more,
//! or the last one is not the nearest. Redis prints scores by the same method since 7.2, and its
//! clients see the very digits: so a better method would not do, and which power of ten is taken
//! where two would do is Redis's choice, too.

/// Digits that a double can have here.
const MAX_DIGITS: usize = 18;

/// The powers of ten below: the first one, the distance from each to the next, and their number.
const FIRST_POWER: i32 = -348;
const POWER_STEP: i32 = 8;

/// The upper 64 bits of powers of ten, rounded to the nearest.
#[rustfmt::skip]
const POWERS: [u64; 87] = [
    0xfa8f_d5a0_081c_0288, 0xbaae_e17f_a23e_bf76, 0x8b16_fb20_3055_ac76, 0xcf42_894a_5dce_35ea,
    0x9a6b_b0aa_5565_3b2d, 0xe61a_cf03_3d1a_45df, 0xab70_fe17_c79a_c6ca, 0xff77_b1fc_bebc_dc4f,
    0xbe56_91ef_416b_d60c, 0x8dd0_1fad_907f_fc3c, 0xd351_5c28_3155_9a83, 0x9d71_ac8f_ada6_c9b5,
    0xea9c_2277_23ee_8bcb, 0xaecc_4991_4078_536d, 0x823c_1279_5db6_ce57, 0xc210_9436_4dfb_5637,
    0x9096_ea6f_3848_984f, 0xd774_85cb_2582_3ac7, 0xa086_cfcd_97bf_97f4, 0xef34_0a98_172a_ace5,
    0xb238_67fb_2a35_b28e, 0x84c8_d4df_d2c6_3f3b, 0xc5dd_4427_1ad3_cdba, 0x936b_9fce_bb25_c996,
    0xdbac_6c24_7d62_a584, 0xa3ab_6658_0d5f_daf6, 0xf3e2_f893_dec3_f126, 0xb5b5_ada8_aaff_80b8,
    0x8762_5f05_6c7c_4a8b, 0xc9bc_ff60_34c1_3053, 0x964e_858c_91ba_2655, 0xdff9_7724_7029_7ebd,
    0xa6df_bd9f_b8e5_b88f, 0xf8a9_5fcf_8874_7d94, 0xb944_7093_8fa8_9bcf, 0x8a08_f0f8_bf0f_156b,
    0xcdb0_2555_6531_31b6, 0x993f_e2c6_d07b_7fac, 0xe45c_10c4_2a2b_3b06, 0xaa24_2499_6973_92d3,
    0xfd87_b5f2_8300_ca0e, 0xbce5_0864_9211_1aeb, 0x8cbc_cc09_6f50_88cc, 0xd1b7_1758_e219_652c,
    0x9c40_0000_0000_0000, 0xe8d4_a510_0000_0000, 0xad78_ebc5_ac62_0000, 0x813f_3978_f894_0984,
    0xc097_ce7b_c907_15b3, 0x8f7e_32ce_7bea_5c70, 0xd5d2_38a4_abe9_8068, 0x9f4f_2726_179a_2245,
    0xed63_a231_d4c4_fb27, 0xb0de_6538_8cc8_ada8, 0x83c7_088e_1aab_65db, 0xc45d_1df9_4271_1d9a,
    0x924d_692c_a61b_e758, 0xda01_ee64_1a70_8dea, 0xa26d_a399_9aef_774a, 0xf209_787b_b47d_6b85,
    0xb454_e4a1_79dd_1877, 0x865b_8692_5b9b_c5c2, 0xc835_53c5_c896_5d3d, 0x952a_b45c_fa97_a0b3,
    0xde46_9fbd_99a0_5fe3, 0xa59b_c234_db39_8c25, 0xf6c6_9a72_a398_9f5c, 0xb7dc_bf53_54e9_bece,
    0x88fc_f317_f222_41e2, 0xcc20_ce9b_d35c_78a5, 0x9816_5af3_7b21_53df, 0xe2a0_b5dc_971f_303a,
    0xa8d9_d153_5ce3_b396, 0xfb9b_7cd9_a4a7_443c, 0xbb76_4c4c_a7a4_4410, 0x8bab_8eef_b640_9c1a,
    0xd01f_ef10_a657_842c, 0x9b10_a4e5_e991_3129, 0xe710_9bfb_a19c_0c9d, 0xac28_20d9_623b_f429,
    0x8044_4b5e_7aa7_cf85, 0xbf21_e440_03ac_dd2d, 0x8e67_9c2f_5e44_ff8f, 0xd433_179d_9c8c_b841,
    0x9e19_db92_b4e3_1ba9, 0xeb96_bf6e_badf_77d9, 0xaf87_023b_9bf0_ee6b,
];

/// Digits without the point: `digits * 10^exponent`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decimal {
    digits: [u8; MAX_DIGITS],
    count: usize,
    /// The power of ten of the last digit.
    pub exponent: i32,
}

impl Decimal {
    /// The digits, in ASCII.
    pub fn digits(&self) -> &[u8] {
        self.digits.get(..self.count).unwrap_or_default()
    }

    /// Puts a digit behind the others, unless all of them are zeros. Whether there is room.
    fn push(&mut self, digit: u64) -> bool {
        if digit == 0 && self.count == 0 {
            return true;
        }
        let Some(place) = self.digits.get_mut(self.count) else {
            return false;
        };
        *place = b'0' + digit as u8;
        self.count += 1;
        true
    }

    /// Lowers the last digit while that brings the number nearer to what is `distance` below the
    /// upper bound; it is `rest` below, and may be `width` below.
    fn approach(&mut self, distance: u64, width: u64, mut rest: u64, step: u64) {
        let last = self.count.checked_sub(1);
        let Some(last) = last.and_then(|at| self.digits.get_mut(at)) else {
            return;
        };
        while rest < distance && width - rest >= step {
            let next = rest.wrapping_add(step);
            if next >= distance && distance - rest <= next - distance {
                return;
            }
            *last -= 1;
            rest = next;
        }
    }
}

/// `significand * 2^exponent`
#[derive(Clone, Copy)]
struct Binary {
    significand: u64,
    exponent: i32,
}

impl Binary {
    /// With the highest bit set.
    fn normal(self) -> Binary {
        let shift = self.significand.leading_zeros();
        Binary {
            significand: self.significand << shift,
            exponent: self.exponent - shift as i32,
        }
    }

    /// The upper 64 bits of the product, rounded.
    fn times(self, other: Binary) -> Binary {
        let product = u128::from(self.significand) * u128::from(other.significand);
        Binary {
            significand: ((product + (1 << 63)) >> 64) as u64,
            exponent: self.exponent + other.exponent + 64,
        }
    }
}

/// A power of ten that brings what has this exponent to one between -60 and -32; and which power.
fn power_for(exponent: i32) -> (Binary, i32) {
    const LOG10_2: f64 = 0.301_029_995_663_981_14;
    let about = (f64::from(-(exponent + POWERS.len() as i32)) * LOG10_2) as i32;
    let mut index = (about - FIRST_POWER) / POWER_STEP;
    loop {
        let power = FIRST_POWER + index * POWER_STEP;
        // The whole part of power * log2(10).
        let binary = ((power * 217_706) >> 16) - 63;
        let found = usize::try_from(index).ok().and_then(|at| POWERS.get(at));
        let cached = Binary {
            significand: found.copied().unwrap_or(1 << 63),
            exponent: binary,
        };
        match exponent + binary + 64 {
            ..-60 => index += 1,
            -60..=-32 => return (cached, power),
            _ => index -= 1,
        }
    }
}

/// The digits of a double that is finite and above zero.
pub fn digits(value: f64) -> Decimal {
    const HIDDEN: u64 = 1 << 52;
    let bits = value.to_bits();
    let fraction = bits & (HIDDEN - 1);
    let exact = match (bits >> 52) as i32 & 0x7ff {
        0 => Binary {
            significand: fraction,
            exponent: -1074,
        },
        biased => Binary {
            significand: fraction | HIDDEN,
            exponent: biased - 1075,
        },
    };
    // Half way to the neighbours; the one below a power of two is nearer.
    let above = Binary {
        significand: (exact.significand << 1) + 1,
        exponent: exact.exponent - 1,
    }
    .normal();
    let finer = if exact.significand == HIDDEN { 2 } else { 1 };
    let below = (exact.significand << finer) - 1;
    let below = Binary {
        significand: below << (exact.exponent - finer - above.exponent),
        exponent: above.exponent,
    };
    let (power, exponent) = power_for(above.exponent);
    let [mut above, mut below] = [above, below].map(|bound| bound.times(power));
    let exact = exact.normal().times(power);
    // The products may be off by one.
    above.significand -= 1;
    below.significand += 1;
    generate(exact, above, below, -exponent)
}

/// The digits of `above` until what is left lies within the bounds.
fn generate(exact: Binary, above: Binary, below: Binary, exponent: i32) -> Decimal {
    let shift = above.exponent.unsigned_abs();
    let mut distance = above.significand - exact.significand;
    let mut width = above.significand - below.significand;
    let mut whole = above.significand >> shift;
    let mut fraction = above.significand & ((1 << shift) - 1);
    let mut decimal = Decimal::default();
    let mut unit = 1_000_000_000;
    for place in (0..10).rev() {
        decimal.push(whole / unit);
        whole %= unit;
        let rest = (whole << shift) + fraction;
        if rest <= width {
            decimal.exponent = exponent + place;
            decimal.approach(distance, width, rest, unit << shift);
            return decimal;
        }
        unit /= 10;
    }
    decimal.exponent = exponent;
    loop {
        fraction *= 10;
        width = width.wrapping_mul(10);
        distance = distance.wrapping_mul(10);
        let room = decimal.push(fraction >> shift);
        fraction &= (1 << shift) - 1;
        decimal.exponent -= 1;
        if fraction < width || !room {
            decimal.approach(distance, width, fraction, 1 << shift);
            return decimal;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: f64) -> String {
        let decimal = digits(value);
        let digits = std::str::from_utf8(decimal.digits()).unwrap();
        format!("{digits}e{}", decimal.exponent)
    }

    #[test]
    fn known_numbers_have_the_digits_that_redis_gives_them() {
        for (value, expected) in [
            (1.0, "1e0"),
            (0.1, "1e-1"),
            // Not the nearest ones.
            (596_800_117.027_343_8, "5968001170273437e-7"),
            (1e23, "9999999999999999e7"),
            (3_210.397_526_507_881, "3210397526507881e-12"),
            (f64::MAX, "17976931348623157e292"),
            (f64::MIN_POSITIVE, "22250738585072014e-324"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(text(value), expected);
        }
    }

    proptest! {
        #[test]
        fn digits_read_back_as_the_same_double(bits in 1u64..0x7ff0_0000_0000_0000) {
            let value = f64::from_bits(bits);
            prop_assert_eq!(text(value).parse::<f64>().unwrap(), value);
        }
    }
}
