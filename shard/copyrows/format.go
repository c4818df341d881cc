package copyrows

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Kind is a format of COPY data.
type Kind uint8

// The formats.
const (
	Text Kind = iota
	CSV
	Binary
)

// DefaultMaxRow is Format.MaxRow where that is 0: 64 MiB.
const DefaultMaxRow = 64 << 20

// Format are the options of a COPY that change how its data is read (PostgreSQL manual, COPY). Zero values stand for PostgreSQL's defaults.
type Format struct {
	Kind         Kind
	Delimiter    byte   // 0: tab in text, comma in csv
	Null         string // the NULL string, in the encoding of the data, if HasNull; otherwise \N in text and nothing in csv
	HasNull      bool
	Default      string // the DEFAULT string, in the encoding of the data, if HasDefault; PostgreSQL 16 and later
	HasDefault   bool
	Header       bool   // HEADER, HEADER MATCH: the first line is no row
	Quote        byte   // csv; 0: "
	Escape       byte   // csv; 0: as Quote
	ForceNull    []bool // csv: FORCE_NULL by position in the column list; missing ones are false
	ForceNotNull []bool // csv: FORCE_NOT_NULL by position
	// Encoding is the name of the data's encoding: the option ENCODING, or else client_encoding. "" is UTF8.
	Encoding string
	// Version is the major version of the servers: until 17, \. alone on a line ends csv data. COPY TO does not need it.
	Version int
	// MaxRow is the length of the longest row, header or line in bytes; 0 is DefaultMaxRow.
	MaxRow int
}

// ErrEncoding says that rows in the encoding of the data cannot be told apart by their bytes.
var ErrEncoding = errors.New("encoding is not supported for COPY of a sharded table")

// ErrOption says that an option, or the columns, cannot be those of a COPY, or not of one that this package reads.
var ErrOption = errors.New("option of COPY is not supported")

// complete returns f with the defaults in place of zero values.
func (f Format) complete() (Format, error) {
	if f.MaxRow <= 0 {
		f.MaxRow = DefaultMaxRow
	}
	switch f.Kind {
	case Binary:
		return f, nil
	case Text:
		f.Delimiter = or(f.Delimiter, '\t')
		if !f.HasNull {
			f.Null = `\N`
		}
	case CSV:
		f.Delimiter = or(f.Delimiter, ',')
		f.Quote = or(f.Quote, '"')
		f.Escape = or(f.Escape, f.Quote)
		if !f.HasNull {
			f.Null = ""
		}
	default:
		return f, fmt.Errorf("format %d: %w", f.Kind, ErrOption)
	}
	if err := f.check(); err != nil {
		return f, err
	}
	return f, checkEncoding(f.Encoding)
}

// check refuses what PostgreSQL refuses, as far as the scanners rely on it, and the few characters that doc.go names.
func (f Format) check() error {
	type option struct {
		name string
		char byte
		bad  string
	}
	options := []option{{"delimiter", f.Delimiter, "\r\n"}}
	if f.Kind == Text {
		options[0].bad += `\.abcdefghijklmnopqrstuvwxyz0123456789`
	} else {
		options = append(options, option{"quote", f.Quote, "\r\n\\" + string(f.Delimiter)}, option{"escape", f.Escape, "\r\n"})
	}
	for _, o := range options {
		if o.char >= 0x80 || strings.IndexByte(o.bad, o.char) >= 0 {
			return fmt.Errorf("%s %q: %w", o.name, o.char, ErrOption)
		}
	}
	for _, s := range []string{f.Null, f.Default} {
		if strings.ContainsAny(s, "\r\n") {
			return fmt.Errorf("null or default string %q: %w", s, ErrOption)
		}
	}
	return nil
}

func or(b, otherwise byte) byte {
	if b == 0 {
		return otherwise
	}
	return b
}

// encodings are PostgreSQL's names of encodings in which every byte of a character beyond ASCII has its high bit set, without what
// is not a letter or a digit, in lower case. All server encodings are such.
var encodings = strings.Fields(`abc alt euccn eucjis2004 eucjp euckr euctw
	iso88591 iso885910 iso885913 iso885914 iso885915 iso885916 iso88592 iso88593 iso88594 iso88595 iso88596 iso88597 iso88598 iso88599
	koi8 koi8r koi8u latin1 latin10 latin2 latin3 latin4 latin5 latin6 latin7 latin8 latin9 muleinternal sqlascii tcvn tcvn5712
	unicode utf8 vscii win win1250 win1251 win1252 win1253 win1254 win1255 win1256 win1257 win1258 win866 win874
	windows1250 windows1251 windows1252 windows1253 windows1254 windows1255 windows1256 windows1257 windows1258 windows866 windows874`)

// checkEncoding compares names as PostgreSQL does: without regard to case and punctuation.
func checkEncoding(name string) error {
	clean := strings.Map(func(c rune) rune {
		switch {
		case c >= 'A' && c <= 'Z':
			return c + 'a' - 'A'
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			return c
		}
		return -1
	}, name)
	if name == "" || slices.Contains(encodings, clean) {
		return nil
	}
	return fmt.Errorf("encoding %q: %w", name, ErrEncoding)
}
