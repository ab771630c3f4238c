//! engine-faulty
