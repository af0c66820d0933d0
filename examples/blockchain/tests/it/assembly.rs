//! Scripts as the test vectors of Bitcoin Core write them.

const NAMES: &[(&str, u8)] = &[
    ("0", 0x00),
    ("1NEGATE", 0x4f),
    ("RESERVED", 0x50),
    ("NOP", 0x61),
    ("VER", 0x62),
    ("IF", 0x63),
    ("NOTIF", 0x64),
    ("VERIF", 0x65),
    ("VERNOTIF", 0x66),
    ("ELSE", 0x67),
    ("ENDIF", 0x68),
    ("VERIFY", 0x69),
    ("RETURN", 0x6a),
    ("TOALTSTACK", 0x6b),
    ("FROMALTSTACK", 0x6c),
    ("2DROP", 0x6d),
    ("2DUP", 0x6e),
    ("3DUP", 0x6f),
    ("2OVER", 0x70),
    ("2ROT", 0x71),
    ("2SWAP", 0x72),
    ("IFDUP", 0x73),
    ("DEPTH", 0x74),
    ("DROP", 0x75),
    ("DUP", 0x76),
    ("NIP", 0x77),
    ("OVER", 0x78),
    ("PICK", 0x79),
    ("ROLL", 0x7a),
    ("ROT", 0x7b),
    ("SWAP", 0x7c),
    ("TUCK", 0x7d),
    ("CAT", 0x7e),
    ("SUBSTR", 0x7f),
    ("LEFT", 0x80),
    ("RIGHT", 0x81),
    ("SIZE", 0x82),
    ("INVERT", 0x83),
    ("AND", 0x84),
    ("OR", 0x85),
    ("XOR", 0x86),
    ("EQUAL", 0x87),
    ("EQUALVERIFY", 0x88),
    ("RESERVED1", 0x89),
    ("RESERVED2", 0x8a),
    ("1ADD", 0x8b),
    ("1SUB", 0x8c),
    ("2MUL", 0x8d),
    ("2DIV", 0x8e),
    ("NEGATE", 0x8f),
    ("ABS", 0x90),
    ("NOT", 0x91),
    ("0NOTEQUAL", 0x92),
    ("ADD", 0x93),
    ("SUB", 0x94),
    ("MUL", 0x95),
    ("DIV", 0x96),
    ("MOD", 0x97),
    ("LSHIFT", 0x98),
    ("RSHIFT", 0x99),
    ("BOOLAND", 0x9a),
    ("BOOLOR", 0x9b),
    ("NUMEQUAL", 0x9c),
    ("NUMEQUALVERIFY", 0x9d),
    ("NUMNOTEQUAL", 0x9e),
    ("LESSTHAN", 0x9f),
    ("GREATERTHAN", 0xa0),
    ("LESSTHANOREQUAL", 0xa1),
    ("GREATERTHANOREQUAL", 0xa2),
    ("MIN", 0xa3),
    ("MAX", 0xa4),
    ("WITHIN", 0xa5),
    ("RIPEMD160", 0xa6),
    ("SHA1", 0xa7),
    ("SHA256", 0xa8),
    ("HASH160", 0xa9),
    ("HASH256", 0xaa),
    ("CODESEPARATOR", 0xab),
    ("CHECKSIG", 0xac),
    ("CHECKSIGVERIFY", 0xad),
    ("CHECKMULTISIG", 0xae),
    ("CHECKMULTISIGVERIFY", 0xaf),
    ("NOP1", 0xb0),
    ("CHECKLOCKTIMEVERIFY", 0xb1),
    ("NOP2", 0xb1),
    ("CHECKSEQUENCEVERIFY", 0xb2),
    ("NOP3", 0xb2),
    ("NOP4", 0xb3),
    ("NOP5", 0xb4),
    ("NOP6", 0xb5),
    ("NOP7", 0xb6),
    ("NOP8", 0xb7),
    ("NOP9", 0xb8),
    ("NOP10", 0xb9),
    ("CHECKSIGADD", 0xba),
];

/// The bytes of a script: numbers and 'text' are pushed, 0x… stands there as it is, and the rest are operators.
pub(crate) fn assemble(text: &str) -> Vec<u8> {
    let mut script = Vec::new();
    for word in text.split_whitespace() {
        if let Some(digits) = word.strip_prefix("0x") {
            script.extend(hex::decode(digits).unwrap());
        } else if let Some(quoted) = word.strip_prefix('\'') {
            push(quoted.strip_suffix('\'').unwrap().as_bytes(), &mut script);
        } else if let Ok(number) = word.parse::<i64>() {
            push_number(number, &mut script);
        } else {
            let name = word.strip_prefix("OP_").unwrap_or(word);
            let operator = NAMES.iter().find(|(known, _)| *known == name);
            script.push(operator.unwrap_or_else(|| panic!("`{word}` is no operator")).1);
        }
    }
    script
}

fn push(bytes: &[u8], script: &mut Vec<u8>) {
    match bytes.len() {
        length @ 0..=75 => script.push(length as u8),
        length @ 76..=255 => script.extend([0x4c, length as u8]),
        length => {
            script.push(0x4d);
            script.extend((length as u16).to_le_bytes());
        }
    }
    script.extend(bytes);
}

fn push_number(number: i64, script: &mut Vec<u8>) {
    match number {
        0 => script.push(0),
        -1 | 1..=16 => script.push((number + 0x50) as u8),
        _ => {
            let mut left = number.unsigned_abs();
            let mut bytes = Vec::new();
            while left > 0 {
                bytes.push(left as u8);
                left >>= 8;
            }
            if bytes.last().unwrap() & 0x80 != 0 {
                bytes.push(0);
            }
            if number < 0 {
                *bytes.last_mut().unwrap() |= 0x80;
            }
            push(&bytes, script);
        }
    }
}
