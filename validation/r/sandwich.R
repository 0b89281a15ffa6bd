# The numbers of sandwich.csv: clubSandwich's answers to questions that --estimator sandwich answers too.
#   Rscript sandwich.R          (Debian: r-base-core; install.packages("clubSandwich"), 0.5.8 here)
# Writes sandwich_rows.csv, too: rows of three invented designs, with two elements of a map each (multiples of
# 1/1024, which float32 holds exactly).
#   visits  14 people in two groups, three visits, a tenth of the rows missing
#   sites   12 sites of 1 to 19 people, so that leverages differ widely
#   alone   people as in visits, and a column that is 1 for the two rows of one person: fitted exactly in part
# Weights of a contrast are written out; rows of a joint test are parted by "|".
suppressMessages(library(clubSandwich))
set.seed(16)
exact <- function(x) round(x * 1024) / 1024
visits <- expand.grid(visit = 1:3, unit = 1:14)
visits$group <- as.numeric(visits$unit > 8); visits$age <- exact(rnorm(14, 40, 9))[visits$unit]
visits <- visits[-c(2, 9, 20, 36), ]
effect <- rnorm(14)[visits$unit]
visits$y1 <- exact(3 + effect + rnorm(nrow(visits))); visits$y2 <- exact(effect * visits$visit + rnorm(nrow(visits)))
sites <- data.frame(unit = rep(1:12, c(1, 2, 2, 3, 4, 5, 6, 8, 9, 12, 15, 19)))
sites$visit <- sequence(rle(sites$unit)$lengths)
sites$group <- rbinom(nrow(sites), 1, 0.4); sites$age <- exact(rnorm(nrow(sites), 40, 9) + sites$unit)
sites$y1 <- exact(rnorm(12)[sites$unit] + rnorm(nrow(sites))); sites$y2 <- exact(1e3 + rnorm(12)[sites$unit] * sites$age)
alone <- visits
designs <- list(
  visits = list(rows = visits, matrix = model.matrix(~ group * factor(visit) + age, visits)),
  sites = list(rows = sites, matrix = model.matrix(~ group + age + I(age^2 / 100), sites)),
  alone = list(rows = alone, matrix = cbind(model.matrix(~ factor(visit) + age, alone), own = as.numeric(alone$unit == 3)))
)
questions <- list(
  visits = list(rbind(c(0, 1, 0, 0, 0, 1 / 3, 1 / 3)), rbind(c(0, 0, 0, 1, 0, 0, 0)), rbind(c(1, 0, 0, 0, 40, 0, 0)),
                rbind(c(0, 0, 0, 0, 0, 1, 0), c(0, 0, 0, 0, 0, 0, 1)),
                rbind(c(0, 1, 0, 0, 0, 0, 0), c(0, 0, 1, 0, 0, 0, 0), c(0, 0, 0, 0, 1, 0, 0))),
  sites = list(rbind(c(0, 1, 0, 0)), rbind(c(0, 0, 1, 0.8)), rbind(c(0, 0, 1, 0), c(0, 0, 0, 1))),
  alone = list(rbind(c(0, 0, 1, 0, 0)), rbind(c(0, 0, 0, 1, 0)), rbind(c(0, 1, 0, 0, 0), c(0, 0, 1, 0, 0)))
)
answers <- list(); written <- list()
for (design in names(designs)) {
  rows <- designs[[design]]$rows; X <- designs[[design]]$matrix
  written[[design]] <- data.frame(design, rows[, c("unit", "visit", "group", "age", "y1", "y2")],
                                  own = if (design == "alone") X[, "own"] else 0)
  for (element in 1:2) for (variant in c("CR0", "CR1", "CR2", "CR3")) {
    if (design == "alone" && variant == "CR3") next  # clubSandwich inverts a singular matrix there
    rows$y <- rows[[paste0("y", element)]]
    fit <- lm(y ~ 0 + X, rows); V <- vcovCR(fit, cluster = rows$unit, type = variant)
    for (C in questions[[design]]) {
      C <- matrix(C, ncol = ncol(X)); q <- nrow(C)
      if (q == 1) {
        found <- linear_contrast(fit, vcov = V, contrasts = C, test = "Satterthwaite")
        kept <- c(found$Est, found$SE, found$Est / found$SE, found$df, NA)
        p <- 2 * pt(-abs(kept[3]), kept[4])
      } else {
        found <- Wald_test(fit, constraints = C, vcov = V, test = "HTZ")
        kept <- c(NA, NA, found$Fstat, found$df_denom, found$delta); p <- found$p_val
      }
      weights <- paste(apply(C, 1, function(row) paste(trimws(formatC(row, digits = 17, format = "g")), collapse = " ")), collapse = " | ")
      answers[[length(answers) + 1]] <- data.frame(
        design, element, variant, weights, effect = kept[1], se = kept[2], statistic = kept[3], dof = kept[4], p = p)
    }
  }
}
answers <- do.call(rbind, answers)
for (column in c("effect", "se", "statistic", "dof", "p"))
  answers[[column]] <- ifelse(is.na(answers[[column]]), "", trimws(formatC(answers[[column]], digits = 15, format = "g")))
write.csv(answers, "sandwich.csv", row.names = FALSE, quote = FALSE)
write.csv(format(do.call(rbind, written), digits = 15, trim = TRUE), "sandwich_rows.csv", row.names = FALSE, quote = FALSE)
