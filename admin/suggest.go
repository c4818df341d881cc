package admin

// nearest returns the name that is most like word, or "" if none is like it.
func nearest(word string, names []string) string {
	if len(word) > 64 {
		return ""
	}
	best, limit := "", 1+max(1, len(word)/3)
	for _, n := range names {
		// Of equally distant names the first in the alphabet, because maps have no order.
		if d := distance(word, n); d < limit || d == limit && best != "" && n < best {
			best, limit = n, d
		}
	}
	return best
}

// distance is the number of bytes to insert, delete or replace between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
