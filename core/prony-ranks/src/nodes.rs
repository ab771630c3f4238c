//! Slurm's lists of nodes, such as `n[01-03,7],login`.

/// The first node of a list, by its name.
pub(crate) fn first(list: &str) -> Option<String> {
    let mut name = String::new();
    let mut rest = list;
    loop {
        let end = rest.find([',', '[']).unwrap_or(rest.len());
        name.push_str(&rest[..end]);
        if !rest[end..].starts_with('[') {
            break;
        }
        let (ranges, after) = rest[end + 1..].split_once(']')?;
        // The first number, as it is padded: `01-03,7` is 01.
        let number = ranges.split([',', '-']).next()?;
        if number.is_empty() || !number.bytes().all(|it| it.is_ascii_digit()) {
            return None;
        }
        name.push_str(number);
        rest = after;
    }
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_list() {
        for (list, node) in [
            ("n1", Some("n1")),
            ("n1,n2", Some("n1")),
            ("n[1-4]", Some("n1")),
            ("n[01-03,7],login", Some("n01")),
            ("n[7,9]", Some("n7")),
            ("rack[2-3]-n[010-012].x", Some("rack2-n010.x")),
            ("login,n[1-2]", Some("login")),
            ("", None),
            ("n[", None),
            ("n[]", None),
            ("n[a-b]", None),
        ] {
            assert_eq!(first(list).as_deref(), node, "{list}");
        }
    }
}
