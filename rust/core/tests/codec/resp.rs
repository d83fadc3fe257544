//! A reader of RESP requests: arrays of bulk strings.

/// Every command in `bytes`, as its words.
pub(crate) fn commands(mut bytes: &[u8]) -> Vec<Vec<&[u8]>> {
    let mut commands = Vec::new();
    while !bytes.is_empty() {
        let words = number(b'*', &mut bytes);
        commands.push((0..words).map(|_| bulk(&mut bytes)).collect());
    }
    commands
}

fn bulk<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let len = number(b'$', bytes);
    let (word, rest) = bytes.split_at(len);
    *bytes = rest
        .strip_prefix(b"\r\n")
        .expect("a bulk string ends with CRLF");
    word
}

fn number(kind: u8, bytes: &mut &[u8]) -> usize {
    let end = bytes
        .windows(2)
        .position(|pair| pair == b"\r\n")
        .expect("a line");
    assert_eq!(bytes[0], kind);
    let digits = std::str::from_utf8(&bytes[1..end]).expect("digits");
    // Redis refuses leading zeros.
    assert!(digits == "0" || !digits.starts_with('0'), "{digits}");
    *bytes = &bytes[end + 2..];
    digits.parse().expect("a number")
}
