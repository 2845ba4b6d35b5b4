//! Days and dates of the Gregorian calendar.
//!
//! Years are taken to begin in March, so that a leap day is the last of its year, and to come in
//! eras of 400 with 146,097 days; five months in a row have 153.

/// From the first of March of the year 0 to the epoch, in days.
const EPOCH: u32 = 719_468;
/// How many days an era has.
const ERA: u32 = 146_097;

/// The year, month and day of a day, by its number since the epoch.
pub(crate) fn date(day: u32) -> [u32; 3] {
    let day = day.wrapping_add(EPOCH);
    let (era, day) = (day / ERA, day % ERA);
    let leap_days = (day / 1_460)
        .wrapping_add(day / 146_096)
        .wrapping_sub(day / 36_524);
    let year = day.wrapping_sub(leap_days) / 365;
    let day = day.wrapping_sub(before_year(year));
    let month = day.wrapping_mul(5).wrapping_add(2) / 153;
    let day = day.wrapping_sub(before_month(month)).wrapping_add(1);
    let (month, is_next) = match month {
        0..10 => (month.wrapping_add(3), 0),
        month => (month.wrapping_sub(9), 1),
    };
    let year = era.wrapping_mul(400).wrapping_add(year);
    [year.wrapping_add(is_next), month, day]
}

/// The number of a day since the epoch; `None` if there is no such day, or it was before.
pub(crate) fn day(date: [u32; 3]) -> Option<u32> {
    let [year, month, day] = date;
    let (year, month) = match month {
        3.. => (year, month.wrapping_sub(3)),
        month => (year.checked_sub(1)?, month.wrapping_add(9)),
    };
    let number = (year / 400)
        .wrapping_mul(ERA)
        .wrapping_add(before_year(year % 400))
        .wrapping_add(before_month(month))
        .wrapping_add(day)
        .checked_sub(EPOCH.wrapping_add(1))?;
    // Otherwise it is another day that has this number.
    (self::date(number) == date).then_some(number)
}

/// The days of an era before a year of it.
fn before_year(year: u32) -> u32 {
    let leap_days = (year / 4).wrapping_sub(year / 100);
    year.wrapping_mul(365).wrapping_add(leap_days)
}

/// The days of a year before a month of it.
fn before_month(month: u32) -> u32 {
    month.wrapping_mul(153).wrapping_add(2) / 5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_five_centuries_has_its_number() {
        let mut before = [1969, 12, 31];
        for number in 0..190_000 {
            let date = date(number);
            assert!(date > before, "{date:?} after {before:?}");
            assert_eq!(day(date), Some(number), "{date:?}");
            before = date;
        }
        assert_eq!(date(0), [1970, 1, 1]);
        assert_eq!(date(19_782), [2024, 2, 29]);
    }

    #[test]
    fn what_is_no_day_has_none() {
        for wrong in [
            [2023, 2, 29],
            [2100, 2, 29],
            [2024, 2, 30],
            [2024, 4, 31],
            [2024, 0, 1],
            [2024, 13, 1],
            [2024, 1, 0],
            [2024, 1, 32],
            [1969, 12, 31],
            [0, 1, 1],
            [0, 0, 0],
            [u32::MAX, u32::MAX, u32::MAX],
        ] {
            assert_eq!(day(wrong), None, "{wrong:?}");
        }
    }
}
