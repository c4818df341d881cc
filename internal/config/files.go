package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
)

// maxFileSize bounds what is read into memory for one file.
const maxFileSize = 64 << 20

// fileContent is what a file held when it was read, or why it could not be read.
type fileContent struct {
	data []byte
	err  error
}

// fileSet reads files, each of them once, and remembers what it saw, so that a configuration knows what
// it was made from.
type fileSet struct {
	contents map[string]fileContent
	kept     map[string]fileContent // used instead of reading again; see reuse
}

func newFileSet() *fileSet { return &fileSet{contents: map[string]fileContent{}} }

// reuse returns a set that takes the files that f has read from memory, except those listed.
func (f *fileSet) reuse(except ...string) *fileSet {
	n := newFileSet()
	n.kept = map[string]fileContent{}
	maps.Copy(n.kept, f.kept)
	maps.Copy(n.kept, f.contents)
	for _, path := range except {
		delete(n.kept, path)
	}
	return n
}

func (f *fileSet) read(path string) ([]byte, error) {
	c, ok := f.contents[path]
	if !ok {
		if c, ok = f.kept[path]; !ok {
			c.data, c.err = readFile(path)
		}
		f.contents[path] = c
	}
	return c.data, c.err
}

// held returns what path had in it when it was read last, nil if that failed or has not happened.
func (f *fileSet) held(path string) []byte {
	if c, ok := f.contents[path]; ok {
		return c.data
	}
	return f.kept[path].data
}

// put makes f hold data for path, as if it had been read.
func (f *fileSet) put(path string, data []byte) { f.contents[path] = fileContent{data: data} }

// paths returns the files that were read or looked for, sorted.
func (f *fileSet) paths() []string {
	p := make([]string, 0, len(f.contents))
	for path := range f.contents {
		p = append(p, path)
	}
	slices.Sort(p)
	return p
}

// changed returns the files whose contents on disk differ from what f saw, sorted.
func (f *fileSet) changed() []string {
	var out []string
	for _, path := range f.paths() {
		seen := f.contents[path]
		var now fileContent
		now.data, now.err = readFile(path)
		if (now.err == nil) != (seen.err == nil) || now.err == nil && !bytes.Equal(now.data, seen.data) {
			out = append(out, path)
		}
	}
	return out
}

// readFile reads a whole file. What is neither a regular file nor a character device is refused, because
// reading it could block.
func readFile(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode := st.Mode(); !mode.IsRegular() && mode&os.ModeCharDevice == 0 {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if st.Size() > maxFileSize {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxFileSize)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // some editors' mark of UTF-8
	if err == nil && len(data) > maxFileSize {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxFileSize)
	}
	return data, err
}

// why returns the reason without the path, which the message around it names already.
func why(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
