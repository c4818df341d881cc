package pooler

import "testing"

func TestAsReported(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, base, value, want string }{
		{"DateStyle", "ISO, MDY", "ISO", "ISO, MDY"},
		{"DateStyle", "ISO, MDY", "dmy", "ISO, DMY"},
		{"DateStyle", "SQL, DMY", "iso", "ISO, DMY"},
		{"DateStyle", "ISO, MDY", "German", "German, DMY"},
		{"DateStyle", "ISO, MDY", "german, ymd", "German, YMD"},
		{"DateStyle", "ISO, MDY", "YMD ,  PostgreSQL", "Postgres, YMD"},
		{"DateStyle", "ISO, MDY", "european", "ISO, DMY"},
		{"DateStyle", "ISO, DMY", "US", "ISO, MDY"},
		{"DateStyle", "ISO, DMY", "iso, sql", "iso, sql"},
		{"DateStyle", "ISO, DMY", "default", "default"},
		{"DateStyle", "ISO, DMY", "", ""},
		{"DateStyle", "", "ISO", "ISO"},
		{"client_encoding", "UTF8", "utf-8", "UTF8"},
		{"client_encoding", "UTF8", "latin1", "latin1"},
		{"TimeZone", "Etc/UTC", "etc/utc", "Etc/UTC"},
		{"standard_conforming_strings", "on", "ON", "on"},
		{"application_name", "A", "a", "a"},
	} {
		if got := asReported(c.name, c.base, c.value); got != c.want {
			t.Errorf("%s: %q over %q is %q, want %q", c.name, c.value, c.base, got, c.want)
		}
	}
}
