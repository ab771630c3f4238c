//! The constants of the rule by which comparisons are decided. Changing one makes the error
//! rates of runs before and after incomparable; the journal's first line has those of its run.

/// Two-sided error of `faster` and `slower` over all looks. One point below the promised 5 %,
/// so that what the theory leaves out has room.
pub const ALPHA: f64 = 0.04;
/// Two-sided error of the interval that must lie inside the margin for `equivalent`: two
/// one-sided tests at 5 % (Schuirmann 1987).
pub const ALPHA_EQUIVALENT: f64 = 0.1;
/// Before this cycle nothing is tested: five coins that fall alike are no rarity.
pub const FIRST_LOOK: u32 = 6;
/// Most cycles of a comparison that is no open run: the code whose orders are compared has
/// coins for no more.
pub const MAX_CYCLES: u32 = 127;
/// Binary logarithm of the number of orders that are compared.
pub const ORDERS_LOG2: u32 = 14;
/// Exponent of the spending function `alpha (n / N)^1.5`: little early, most towards the end.
pub const SPENDING: f64 = 1.5;
