package pooler

import (
	"strings"
	"testing"
)

func TestKillAtNamesAStepAndHowOftenItIsPassed(t *testing.T) {
	t.Parallel()
	for _, m := range []struct {
		value, name string
		left        int64
		err         string
	}{
		{"", "", 0, ""},
		{"decided", "decided", 1, ""},
		{"all prepared:200", "all prepared", 200, ""},
		{"decided:0", "", 0, "from 1 on"},
		{"decided:", "", 0, "from 1 on"},
		{"decided:-1", "", 0, "from 1 on"},
		{"decided:1x", "", 0, "from 1 on"},
		{"decided:99999999999999999999", "", 0, "from 1 on"},
		{"undecided", "", 0, "the steps are before decide, decided"},
		{":3", "", 0, "there is no step"},
	} {
		k, err := parseKillAt(m.value)
		if m.err != "" {
			if err == nil || !strings.Contains(err.Error(), m.err) {
				t.Errorf("%q: got %v, want %q", m.value, err, m.err)
			}
			continue
		}
		switch {
		case err != nil:
			t.Errorf("%q: %v", m.value, err)
		case m.name == "" && k != nil, m.name != "" && (k == nil || k.name != m.name || k.left.Load() != m.left):
			t.Errorf("%q: got %+v, want %q and %d", m.value, k, m.name, m.left)
		}
	}
}
